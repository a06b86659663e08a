# carrel_libraries: the libraries and what they are made of. Every source is compiled once for each
# configuration, as position-independent objects, and archived or linked as needed.

set(carrel_root "${CMAKE_CURRENT_LIST_DIR}/..")
get_filename_component(carrel_root "${carrel_root}" ABSOLUTE)

file(GLOB carrel_sources CONFIGURE_DEPENDS
  "${carrel_root}/src/*/*.cc" "${carrel_root}/src/os/linux/*.cc")
# The only files that define names of libc or of the C++ runtime; the prefixed library lacks them.
set(carrel_override_sources
  "${carrel_root}/src/api/malloc.cc"
  "${carrel_root}/src/api/new.cc"
  "${carrel_root}/src/api/malloc_info.cc")
set(carrel_core_sources ${carrel_sources})
list(REMOVE_ITEM carrel_core_sources ${carrel_override_sources})
if(NOT carrel_core_sources)
  message(FATAL_ERROR "no sources under src/; is this a complete checkout?")
endif()
# What every process runs comes first, and so lies together: a process maps the pages around those
# that it runs. And where several objects have the same function from a header, the linker takes the
# first one's: this must not be the one that was compiled small (see carrel_small_sources).
set(carrel_first_sources
  "${carrel_root}/src/api/instance.cc"
  "${carrel_root}/src/api/requests.cc"
  "${carrel_root}/src/os/linux/linux_os.cc"
  "${carrel_root}/src/os/linux/environment.cc"
  "${carrel_root}/src/os/linux/memcheck.cc"
  "${carrel_root}/src/api/aside.cc"
  "${carrel_root}/src/heap/options.cc")
list(REMOVE_ITEM carrel_core_sources ${carrel_first_sources})
list(PREPEND carrel_core_sources ${carrel_first_sources})

# A link by the C compiler must stay one: CMake would append the C++ runtime to it for the sake of
# the objects' language. Links by the C++ compiler have the runtime anyway.
set(CMAKE_CXX_IMPLICIT_LINK_LIBRARIES "")

# For code that may include the internal headers: the core itself and the unit tests.
add_library(carrel_internal INTERFACE)
target_include_directories(carrel_internal INTERFACE "${carrel_root}/include" "${carrel_root}/src")

# carrel_object_library(NAME PRESET SOURCE...): PRESET is a folder of src/config/presets/.
function(carrel_object_library name preset)
  add_library(${name} OBJECT ${ARGN})
  target_link_libraries(${name} PRIVATE carrel_core_flags carrel_internal)
  target_include_directories(${name} PRIVATE "${carrel_root}/src/config/presets/${preset}")
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
# What is asked for now and then is better small than fast: every process has the pages of the whole
# library, and a static program what it refers to.
foreach(source IN ITEMS
    api/arena api/arena_options api/budget api/control api/control_server api/malloc_info
    api/profile api/reports api/results api/sample_hooks api/settings api/shortage api/statistics
    api/statistics_formats api/statistics_text heap/options os/linux/fences os/linux/files
    os/linux/helper_thread os/linux/local_socket os/linux/mappings os/linux/pressure
    os/linux/resident)
  list(APPEND carrel_small_sources "${carrel_root}/src/${source}.cc")
endforeach()
set_source_files_properties(${carrel_small_sources} PROPERTIES
  COMPILE_OPTIONS "$<$<CONFIG:Release,RelWithDebInfo>:-Os>")

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

# carrel_override(PREFIX PRESET OUTPUT STATIC_ALIAS SHARED_ALIAS): the archive and the shared
# library that replace malloc, from the objects PREFIX_core_objects.
function(carrel_override prefix preset output static_alias shared_alias)
  carrel_object_library(${prefix}_override_objects ${preset} ${carrel_override_sources})

  carrel_archive(${prefix}_static ${output} ${prefix}_core_objects ${prefix}_override_objects)
  set_target_properties(${prefix}_static PROPERTIES EXPORT_NAME ${static_alias})
  # Take the override also when nothing in the program itself, but only its libraries, allocates.
  target_link_options(${prefix}_static INTERFACE
    LINKER:--undefined=malloc LINKER:--undefined=_Znwm)
  add_library(carrel::${static_alias} ALIAS ${prefix}_static)

  add_library(${prefix}_shared SHARED
    $<TARGET_OBJECTS:${prefix}_override_objects> $<TARGET_OBJECTS:${prefix}_core_objects>)
  target_link_libraries(${prefix}_shared PRIVATE Threads::Threads)
  set(carrel_exports "${carrel_root}/src/api/exports.map")
  target_link_options(${prefix}_shared PRIVATE
    ${carrel_shared_link_options} "LINKER:--version-script=${carrel_exports}")
  set_target_properties(${prefix}_shared PROPERTIES
    OUTPUT_NAME ${output} EXPORT_NAME ${shared_alias}
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
    LINKER_LANGUAGE C LINK_DEPENDS "${carrel_exports}")
  carrel_public_interface(${prefix}_shared)
  add_library(carrel::${shared_alias} ALIAS ${prefix}_shared)
endfunction()

carrel_object_library(carrel_core_objects default ${carrel_core_sources})
carrel_archive(carrel_prefixed carrel-prefixed carrel_core_objects)
set_target_properties(carrel_prefixed PROPERTIES EXPORT_NAME prefixed)
add_library(carrel::prefixed ALIAS carrel_prefixed)

if(CARREL_HAS_OVERRIDE)
  # operator new must throw std::bad_alloc.
  set_source_files_properties("${carrel_root}/src/api/new.cc" PROPERTIES
    COMPILE_OPTIONS "-fexceptions")
  carrel_override(carrel default carrel static carrel)
  # The hardened build: the same sources with another configuration.
  carrel_object_library(carrel_secure_core_objects secure ${carrel_core_sources})
  carrel_override(carrel_secure secure carrel-secure secure-static secure)
endif()
