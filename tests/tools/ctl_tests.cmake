# Tests of carrel ctl on live processes; each is a function of ctl_test.py.
set(ctl_source "${CMAKE_CURRENT_SOURCE_DIR}/programs/controlled.c")
set(ctl_dir "${CMAKE_CURRENT_BINARY_DIR}/ctl_programs")
file(MAKE_DIRECTORY "${ctl_dir}")

add_executable(test_tools_controlled ${ctl_source})
target_link_libraries(test_tools_controlled PRIVATE carrel_warnings)
target_compile_options(test_tools_controlled PRIVATE -fno-builtin)
set_target_properties(test_tools_controlled PROPERTIES
  OUTPUT_NAME controlled RUNTIME_OUTPUT_DIRECTORY "${ctl_dir}")

# The same with a heap of its own beside the C library's malloc.
add_executable(test_tools_own_functions ${ctl_source})
target_link_libraries(test_tools_own_functions PRIVATE carrel_warnings carrel::prefixed)
target_compile_definitions(test_tools_own_functions PRIVATE OWN_FUNCTIONS)
set_target_properties(test_tools_own_functions PROPERTIES
  OUTPUT_NAME own_functions RUNTIME_OUTPUT_DIRECTORY "${ctl_dir}")

set(ctl_tests list profile json fork close raw silent refusals not_asked another_user container
  hardened prefixed redis static)
# carrel_ctl_static(NAME COMPILER): linked as a user would type it.
set(ctl_static)
macro(carrel_ctl_static name compiler)
  add_custom_command(
    OUTPUT "${ctl_dir}/${name}"
    COMMAND "${compiler}" -static -std=gnu17 -O1 -fno-builtin "${ctl_source}"
            $<TARGET_FILE:carrel_static> -lpthread -o "${ctl_dir}/${name}"
    DEPENDS carrel_static "${ctl_source}"
    COMMENT "Linking ${name} statically with libcarrel.a"
    VERBATIM)
  list(APPEND ctl_static "${ctl_dir}/${name}")
endmacro()
carrel_ctl_static(controlled_static "${CMAKE_C_COMPILER}")
if(CARREL_MUSL_GCC)
  carrel_ctl_static(controlled_musl "${CARREL_MUSL_GCC}")
  list(APPEND ctl_tests static_musl)
endif()
add_custom_target(carrel_ctl_programs ALL DEPENDS ${ctl_static})

foreach(name IN LISTS ctl_tests)
  add_test(NAME tools.ctl.${name}
    COMMAND Python3::Interpreter "${CMAKE_CURRENT_SOURCE_DIR}/ctl_test.py"
      "$<TARGET_FILE:carrel_command>" "${ctl_dir}" "$<TARGET_FILE:carrel_shared>"
      "$<TARGET_FILE:carrel_secure_shared>" ${name})
  set_tests_properties(tools.ctl.${name} PROPERTIES
    LABELS tools TIMEOUT 240 SKIP_RETURN_CODE 77)
endforeach()
