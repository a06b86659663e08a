# carrel_install: what `cmake --install` lays down: headers, libraries, licences, the CMake package
# (find_package(carrel) gives carrel::carrel, carrel::static, carrel::prefixed, carrel::secure and
# carrel::secure-static) and the pkg-config
# files. The tree may be moved afterwards: every path in it is relative to the file that holds it.
include(CMakePackageConfigHelpers)

set(carrel_cmake_dir "${CMAKE_INSTALL_LIBDIR}/cmake/carrel")
set(carrel_pkgconfig_dir "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
set(carrel_made "${CMAKE_CURRENT_BINARY_DIR}/install")

install(TARGETS carrel_shared carrel_static carrel_prefixed
  carrel_secure_shared carrel_secure_static
  EXPORT carrel_targets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY include/carrel DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
# gdb loads what lies beside a library, where the user trusts that folder. Not in the Debian
# package, whose libraries have no debug information for it to read.
foreach(library IN ITEMS carrel carrel-secure)
  install(FILES tools/gdb/carrel_gdb.py DESTINATION "${CMAKE_INSTALL_LIBDIR}"
    RENAME "lib${library}.so.${PROJECT_VERSION}-gdb.py" COMPONENT gdb)
endforeach()
install(FILES docs/man/carrel.3 DESTINATION "${CMAKE_INSTALL_MANDIR}/man3")
install(FILES LICENSE-APACHE LICENSE-MIT DESTINATION "${CMAKE_INSTALL_DOCDIR}")

install(EXPORT carrel_targets NAMESPACE carrel:: FILE carrelTargets.cmake
  DESTINATION "${carrel_cmake_dir}")
configure_package_config_file(cmake/carrelConfig.cmake.in "${carrel_made}/carrelConfig.cmake"
  INSTALL_DESTINATION "${carrel_cmake_dir}" NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${carrel_made}/carrelConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${carrel_made}/carrelConfig.cmake" "${carrel_made}/carrelConfigVersion.cmake"
  DESTINATION "${carrel_cmake_dir}")

if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" OR IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  set(carrel_pc_prefix "${CMAKE_INSTALL_PREFIX}")
else()
  file(RELATIVE_PATH carrel_pc_up "/${carrel_pkgconfig_dir}" "/")
  string(REGEX REPLACE "/$" "" carrel_pc_up "${carrel_pc_up}")
  set(carrel_pc_prefix "\${pcfiledir}/${carrel_pc_up}")
endif()
foreach(file IN ITEMS carrel carrel-prefixed)
  configure_file("cmake/${file}.pc.in" "${carrel_made}/${file}.pc" @ONLY)
  install(FILES "${carrel_made}/${file}.pc" DESTINATION "${carrel_pkgconfig_dir}")
endforeach()
