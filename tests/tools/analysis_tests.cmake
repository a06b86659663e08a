# Tests of analysis, report, export, compare and advise. The page is looked at by Chromium.
find_package(GTest REQUIRED)
find_package(Python3 3.11 REQUIRED COMPONENTS Interpreter)

add_executable(test_tools_analysis
  analysis_test.cc advise_measure_test.cc advise_verdict_test.cc call_log_test.cc live_at_test.cc)
target_link_libraries(test_tools_analysis PRIVATE carrel_tools GTest::gtest GTest::gtest_main)
add_test(NAME tools.analysis COMMAND test_tools_analysis)
set_tests_properties(tools.analysis PROPERTIES LABELS tools TIMEOUT 120)

# carrel_tool_test(NAME [TIMEOUT seconds] [ARGUMENTS ...])
function(carrel_tool_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "ARGUMENTS")
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  add_test(NAME tools.${name}
    COMMAND ${Python3_EXECUTABLE} "${CMAKE_CURRENT_SOURCE_DIR}/${name}.py"
      --carrel "$<TARGET_FILE:carrel_command>" ${arg_ARGUMENTS})
  set_tests_properties(tools.${name} PROPERTIES
    LABELS tools TIMEOUT ${arg_TIMEOUT} ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
endfunction()

carrel_tool_test(report_page_test)
carrel_tool_test(export_test)
carrel_tool_test(diff_test)
carrel_tool_test(shell_test)
carrel_tool_test(advise_test TIMEOUT 1500)
set_tests_properties(tools.advise_test PROPERTIES PROCESSORS 2)

add_executable(test_tools_pinned programs/pinned.c)
target_link_libraries(test_tools_pinned PRIVATE carrel_warnings Threads::Threads)
target_compile_options(test_tools_pinned PRIVATE -fno-builtin)
set_target_properties(test_tools_pinned PROPERTIES OUTPUT_NAME pinned)
carrel_tool_test(resident_test ARGUMENTS --program "$<TARGET_FILE:test_tools_pinned>"
  --library "$<TARGET_FILE:carrel_shared>")

add_executable(test_tools_timed programs/timed.c)
target_link_libraries(test_tools_timed PRIVATE carrel_warnings Threads::Threads)
target_compile_options(test_tools_timed PRIVATE -fno-builtin -O1)
set_target_properties(test_tools_timed PROPERTIES OUTPUT_NAME timed)
carrel_tool_test(call_sites_test ARGUMENTS --program "$<TARGET_FILE:test_tools_timed>")

add_test(NAME tools.report_types
  COMMAND "${CARREL_NODE}" node_modules/typescript/bin/tsc --noEmit
  WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}/tools/carrel/page")
set_tests_properties(tools.report_types PROPERTIES LABELS tools TIMEOUT 300)
