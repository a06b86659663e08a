# carrel_package: the Debian package, made by `cpack -G DEB` in a build directory. One package holds
# the library, the headers and the build-system files: it is for machines that use carrel, not a
# submission to a distribution, which would split it.
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
set(CPACK_DEBIAN_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
# Depends on the libc that the library was linked with; found by dpkg-shlibdeps.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
# The library alone: the carrel command needs libraries that its users may not want.
set(CPACK_INSTALL_CMAKE_PROJECTS "${CMAKE_BINARY_DIR};${PROJECT_NAME};Unspecified;/")
include(CPack)
