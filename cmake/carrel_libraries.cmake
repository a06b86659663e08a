# carrel_libraries: the three libraries and what they are made of. Every source is compiled once, as
# position-independent objects, and archived or linked as needed.

set(carrel_root "${CMAKE_CURRENT_LIST_DIR}/..")
get_filename_component(carrel_root "${carrel_root}" ABSOLUTE)

file(GLOB carrel_sources CONFIGURE_DEPENDS
  "${carrel_root}/src/*/*.cc" "${carrel_root}/src/os/linux/*.cc")
# The only files that define names of libc or of the C++ runtime; the prefixed library lacks them.
set(carrel_override_sources
  "${carrel_root}/src/api/malloc.cc"
  "${carrel_root}/src/api/malloc_info.cc"
  "${carrel_root}/src/api/new.cc")
set(carrel_core_sources ${carrel_sources})
list(REMOVE_ITEM carrel_core_sources ${carrel_override_sources})
if(NOT carrel_core_sources)
  message(FATAL_ERROR "no sources under src/; is this a complete checkout?")
endif()

# A link by the C compiler must stay one: CMake would append the C++ runtime to it for the sake of
# the objects' language. Links by the C++ compiler have the runtime anyway.
set(CMAKE_CXX_IMPLICIT_LINK_LIBRARIES "")

# For code that may include the internal headers: the core itself and the unit tests.
add_library(carrel_internal INTERFACE)
target_include_directories(carrel_internal INTERFACE "${carrel_root}/include" "${carrel_root}/src")

function(carrel_object_library name)
  add_library(${name} OBJECT ${ARGN})
  target_link_libraries(${name} PRIVATE carrel_core_flags carrel_internal)
endfunction()

# Include directories and system libraries that users of a library need.
function(carrel_public_interface name)
  target_include_directories(${name} INTERFACE
    "$<BUILD_INTERFACE:${carrel_root}/include>" "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
  set_target_properties(${name} PROPERTIES
    ARCHIVE_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib"
    LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
endfunction()

find_package(Threads REQUIRED)
carrel_object_library(carrel_core_objects ${carrel_core_sources})
# What is asked for now and then is better small than fast.
foreach(source IN ITEMS control results statistics statistics_formats statistics_text)
  set_source_files_properties("${carrel_root}/src/api/${source}.cc" PROPERTIES
    COMPILE_OPTIONS "$<$<CONFIG:Release,RelWithDebInfo>:-Os>")
endforeach()

# The archive is C to its users: a C program that links it needs no C++ runtime.
function(carrel_archive name output)
  add_library(${name} STATIC)
  foreach(objects IN LISTS ARGN)
    target_sources(${name} PRIVATE $<TARGET_OBJECTS:${objects}>)
  endforeach()
  set_target_properties(${name} PROPERTIES OUTPUT_NAME ${output} LINKER_LANGUAGE C)
  target_link_libraries(${name} PUBLIC Threads::Threads)
  carrel_public_interface(${name})
endfunction()

carrel_archive(carrel_prefixed carrel-prefixed carrel_core_objects)
set_target_properties(carrel_prefixed PROPERTIES EXPORT_NAME prefixed)
add_library(carrel::prefixed ALIAS carrel_prefixed)

if(CARREL_HAS_OVERRIDE)
  carrel_object_library(carrel_override_objects ${carrel_override_sources})
  # operator new must throw std::bad_alloc.
  set_source_files_properties("${carrel_root}/src/api/new.cc" PROPERTIES
    COMPILE_OPTIONS "-fexceptions")

  carrel_archive(carrel_static carrel carrel_core_objects carrel_override_objects)
  set_target_properties(carrel_static PROPERTIES EXPORT_NAME static)
  # Take the override also when nothing in the program itself, but only its libraries, allocates.
  target_link_options(carrel_static INTERFACE LINKER:--undefined=malloc LINKER:--undefined=_Znwm)
  add_library(carrel::static ALIAS carrel_static)

  add_library(carrel_shared SHARED
    $<TARGET_OBJECTS:carrel_core_objects> $<TARGET_OBJECTS:carrel_override_objects>)
  target_link_libraries(carrel_shared PRIVATE Threads::Threads)
  set(carrel_exports "${carrel_root}/src/api/exports.map")
  target_link_options(carrel_shared PRIVATE
    ${carrel_shared_link_options} "LINKER:--version-script=${carrel_exports}")
  set_target_properties(carrel_shared PROPERTIES
    OUTPUT_NAME carrel EXPORT_NAME carrel
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
    LINKER_LANGUAGE C LINK_DEPENDS "${carrel_exports}")
  carrel_public_interface(carrel_shared)
  add_library(carrel::carrel ALIAS carrel_shared)
endif()
