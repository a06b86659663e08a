# carrel_package: the Debian packages, made by `cpack -G DEB` in a build directory. carrel holds the
# library, the headers and the build-system files, and needs libc alone; carrel-tools the carrel
# command, which needs more. They are for machines that use carrel, not a submission to a
# distribution, which would split the first. Included after tools/carrel.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME carrel)
set(CPACK_PACKAGE_VERSION "${PROJECT_VERSION}")
set(CPACK_PACKAGE_CONTACT "The carrel authors <carrel@invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "memory allocator that replaces malloc and operator new")
set(CPACK_PACKAGE_DESCRIPTION
  "carrel serves malloc and C++'s operator new from per-thread array caches over slabs\n\
whose bookkeeping lies outside the blocks. Use it by preloading libcarrel.so, by\n\
linking it, or through its own functions in carrel.h.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_PACKAGE_DIRECTORY "${CMAKE_BINARY_DIR}/package")
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_UNSPECIFIED_PACKAGE_NAME carrel)
set(CPACK_DEBIAN_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
# Depends on the libc that the library was linked with; found by dpkg-shlibdeps.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
set(CPACK_COMPONENTS_ALL Unspecified)
if(TARGET carrel_command)
  list(APPEND CPACK_COMPONENTS_ALL tools)
  set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME carrel-tools)
  set(CPACK_DEBIAN_TOOLS_PACKAGE_SECTION devel)
  set(CPACK_DEBIAN_TOOLS_DESCRIPTION "tells which memory allocator serves a program
The carrel command records what a program does with its memory, replays it on other
allocators, compares real runs, and says which allocator to use, or to keep what it has.")
  # carrel run starts programs on it, and what is preloaded is of the same version.
  set(CPACK_DEBIAN_TOOLS_PACKAGE_DEPENDS "carrel (= ${PROJECT_VERSION})")
endif()
include(CPack)
