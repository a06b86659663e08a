# Tests of carrel top and carrel snapshot on live processes; each is a function of live_test.py. The
# page of a snapshot is looked at by snapshot_page_test.py.
set(live_source "${CMAKE_CURRENT_SOURCE_DIR}/programs/known_heap.c")
set(live_dir "${CMAKE_CURRENT_BINARY_DIR}/live_programs")
file(MAKE_DIRECTORY "${live_dir}")

foreach(pair IN ITEMS "known_heap carrel::carrel" "known_heap_secure carrel::secure")
  separate_arguments(pair)
  list(GET pair 0 name)
  list(GET pair 1 library)
  add_executable(test_tools_${name} ${live_source})
  target_link_libraries(test_tools_${name} PRIVATE carrel_warnings ${library} Threads::Threads)
  target_compile_options(test_tools_${name} PRIVATE -fno-builtin)
  set_target_properties(test_tools_${name} PROPERTIES
    OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY "${live_dir}")
endforeach()

# carrel_live_static(NAME COMPILER FLAGS...): linked as a user would type it.
set(live_static)
macro(carrel_live_static name compiler)
  add_custom_command(
    OUTPUT "${live_dir}/${name}"
    COMMAND "${compiler}" ${ARGN} -std=gnu17 -O1 -fno-builtin
            "-I${PROJECT_SOURCE_DIR}/include" "${live_source}"
            $<TARGET_FILE:carrel_static> -lpthread -o "${live_dir}/${name}"
    DEPENDS carrel_static "${live_source}"
    COMMENT "Linking ${name} statically with libcarrel.a"
    VERBATIM)
  list(APPEND live_static "${live_dir}/${name}")
endmacro()
carrel_live_static(known_heap_static "${CMAKE_C_COMPILER}" -static)
carrel_live_static(known_heap_static_pie "${CMAKE_C_COMPILER}" -static-pie -fPIE)
find_program(CARREL_MUSL_GCC musl-gcc)
set(live_tests shared hardened hardened_samples own_pool address_space static stripped
  preloaded_python other_version refusals outputs resident_unknown first_thread_gone
  another_program hostile_names ends_meanwhile another_user stop_time)
if(CARREL_MUSL_GCC)
  carrel_live_static(known_heap_musl "${CARREL_MUSL_GCC}" -static)
  list(APPEND live_tests static_musl)
endif()
add_custom_target(carrel_live_programs ALL DEPENDS ${live_static})

foreach(name IN LISTS live_tests)
  add_test(NAME tools.live.${name}
    COMMAND Python3::Interpreter "${CMAKE_CURRENT_SOURCE_DIR}/live_test.py"
      "$<TARGET_FILE:carrel_command>" "${live_dir}" "$<TARGET_FILE:carrel_shared>" ${name})
  set_tests_properties(tools.live.${name} PROPERTIES
    LABELS tools TIMEOUT 240 SKIP_RETURN_CODE 77)
endforeach()
carrel_tool_test(snapshot_page_test ARGUMENTS --program "$<TARGET_FILE:test_tools_known_heap>")
