# Tests of carrel run, doctor, record, trace and replay on real processes; each is a function of
# record_test.py. The unit tests of the trace format: trace_test.cc.
find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)
find_package(GTest REQUIRED)

add_executable(test_tools_counted programs/counted.cc)
target_link_libraries(test_tools_counted PRIVATE carrel_warnings Threads::Threads)
target_compile_options(test_tools_counted PRIVATE -fno-builtin)
set_target_properties(test_tools_counted PROPERTIES OUTPUT_NAME counted)

foreach(name IN ITEMS exact_counts other_allocator killed_program killed_recorder cut_file
    disk_limit full_disk full_temporary_folder interrupted_program messages fork_and_exec
    trim_and_anonymize replay run inert_preload wrappers doctor fixed_address)
  add_test(NAME tools.record.${name}
    COMMAND Python3::Interpreter "${CMAKE_CURRENT_SOURCE_DIR}/record_test.py"
      "$<TARGET_FILE:carrel_command>" "$<TARGET_FILE:test_tools_counted>" ${name})
  set_tests_properties(tools.record.${name} PROPERTIES LABELS tools TIMEOUT 240)
endforeach()

# The same program with the hook linked in, static and not.
add_executable(test_tools_counted_static programs/counted.cc)
target_link_libraries(test_tools_counted_static PRIVATE carrel_warnings carrel::hook)
target_compile_options(test_tools_counted_static PRIVATE -fno-builtin)
target_link_options(test_tools_counted_static PRIVATE -static)
set_target_properties(test_tools_counted_static PROPERTIES OUTPUT_NAME counted_static)
foreach(name IN ITEMS static_counts static_advice static_profile linked_and_preloaded other_libc)
  add_test(NAME tools.hook.${name}
    COMMAND Python3::Interpreter "${CMAKE_CURRENT_SOURCE_DIR}/hook_test.py"
      "$<TARGET_FILE:carrel_command>" "$<TARGET_FILE:test_tools_counted_static>"
      "$<TARGET_FILE:carrel_hook_linked>" ${name})
  set_tests_properties(tools.hook.${name} PROPERTIES LABELS tools TIMEOUT 240)
endforeach()

add_executable(test_tools_trace trace_test.cc)
target_link_libraries(test_tools_trace PRIVATE carrel_tools GTest::gtest GTest::gtest_main)
add_test(NAME tools.trace COMMAND test_tools_trace)
set_tests_properties(tools.trace PROPERTIES LABELS tools TIMEOUT 120)
