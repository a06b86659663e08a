# Fully static executables, linked the way a user would type it: the C compiler alone with
# libcarrel.a for C (glibc -static, -static-pie, musl), the C++ compiler for C++. Every one is a
# test that runs it.
find_program(CARREL_MUSL_GCC musl-gcc)
if(NOT CARREL_MUSL_GCC)
  message(FATAL_ERROR "musl-gcc is missing, the static musl tests need it: run ./dev setup")
endif()

set(static_dir "${CMAKE_CURRENT_BINARY_DIR}/static_programs")
file(MAKE_DIRECTORY "${static_dir}")
set(static_outputs)

# carrel_static_program(NAME SOURCE COMPILER FLAGS...)
macro(carrel_static_program name source compiler)
  set(static_output "${static_dir}/${name}")
  add_custom_command(
    OUTPUT "${static_output}"
    COMMAND "${compiler}" ${ARGN} -g -O1 -fno-builtin -D_GNU_SOURCE
            "-I${PROJECT_SOURCE_DIR}/include" "${CMAKE_CURRENT_SOURCE_DIR}/process/${source}"
            $<TARGET_FILE:carrel_static> -lpthread -o "${static_output}"
    DEPENDS carrel_static process/${source} support/check.h support/child.h
    COMMENT "Linking ${name} statically with libcarrel.a"
    VERBATIM)
  list(APPEND static_outputs "${static_output}")
  add_test(NAME process.${name} COMMAND "${static_output}")
  set_tests_properties(process.${name} PROPERTIES TIMEOUT 60 LABELS api)
endmacro()

carrel_static_program(static_glibc static_program.c "${CMAKE_C_COMPILER}" -std=c17 -static)
carrel_static_program(static_pie_glibc static_program.c "${CMAKE_C_COMPILER}" -std=c17 -static-pie
  -fPIE)
carrel_static_program(static_glibc_cxx static_program.cc "${CMAKE_CXX_COMPILER}" -std=c++20 -static)
carrel_static_program(static_musl static_program.c "${CARREL_MUSL_GCC}" -std=c17 -static)
carrel_static_program(static_stack_glibc static_stack.c "${CMAKE_C_COMPILER}" -std=c17 -static)
carrel_static_program(static_stack_musl static_stack.c "${CARREL_MUSL_GCC}" -std=c17 -static
  -DWITHOUT_DL_FIND_OBJECT -Wl,--eh-frame-hdr)
carrel_static_program(static_leaky leaky.c "${CMAKE_C_COMPILER}" -std=c17 -static)
add_test(NAME api.profile_options.static
  COMMAND Python3::Interpreter "${CMAKE_CURRENT_SOURCE_DIR}/check_profile_options.py"
          "${static_dir}/static_leaky")
set_tests_properties(api.profile_options.static PROPERTIES TIMEOUT 120 LABELS api)
add_custom_target(carrel_static_programs ALL DEPENDS ${static_outputs})
