# unit_test: what the folders that mirror src/ share: the simulated system and a way to say that a
# folder's sources make a test program. Each of those folders includes this file.
#
#   carrel_unit_test(NAME SOURCE...)   the program test_NAME; each of its suites is a test of its
#                                      own, unit.NAME.SUITE, so that none sees another one's heap
find_package(GTest REQUIRED)
find_package(Threads REQUIRED)
include_guard(GLOBAL)

# The core's headers are templates over the system, so that these programs compile them anew, for
# the simulated one and with exceptions; from the library they take the few ordinary functions.
add_library(carrel_unit_support STATIC "${PROJECT_SOURCE_DIR}/src/os/fake/fake_os.cc")
target_include_directories(carrel_unit_support PUBLIC "${CMAKE_CURRENT_LIST_DIR}")
target_link_libraries(carrel_unit_support PUBLIC
  carrel_internal carrel_warnings carrel_prefixed Threads::Threads)
target_compile_definitions(carrel_unit_support PUBLIC _GNU_SOURCE)

function(carrel_unit_test name)
  add_executable(test_${name} ${ARGN})
  target_link_libraries(test_${name} PRIVATE carrel_unit_support GTest::gtest GTest::gtest_main)
  set(suites "")
  foreach(source IN LISTS ARGN)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${source}")
    file(READ "${source}" text)
    string(REGEX MATCHALL "\n(TYPED_)?TEST(_F|_P)?\\([A-Za-z0-9]+" heads "${text}")
    foreach(head IN LISTS heads)
      string(REGEX REPLACE ".*\\(" "" suite "${head}")
      list(APPEND suites "${suite}")
    endforeach()
  endforeach()
  list(REMOVE_DUPLICATES suites)
  foreach(suite IN LISTS suites)
    # As it is, with parameters, with types.
    add_test(NAME unit.${name}.${suite}
      COMMAND test_${name} "--gtest_filter=${suite}.*:*/${suite}.*:${suite}/*.*")
    set_tests_properties(unit.${name}.${suite} PROPERTIES TIMEOUT 120 LABELS unit)
  endforeach()
endfunction()
