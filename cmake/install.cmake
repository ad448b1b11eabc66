# SPDX-License-Identifier: Apache-2.0
#
# Installs the headers, a CMake package and a pkg-config file. All are relocatable and independent of
# the architecture, hence share/ and not lib/.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_DATADIR}/cmake/skim)
set(pkgconfig_dir ${CMAKE_INSTALL_DATADIR}/pkgconfig)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/skim DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN *.h)
install(FILES LICENSE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES include/skim/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME GUIDE.md)

install(
  TARGETS skim
  EXPORT skimTargets
  INCLUDES
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(
  EXPORT skimTargets
  NAMESPACE skim::
  DESTINATION ${package_dir})

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/skimConfig.cmake.in skimConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(
  skimConfigVersion.cmake
  COMPATIBILITY SameMinorVersion # until 1.0 a minor version may change the interface
  ARCH_INDEPENDENT)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/skimConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/skimConfigVersion.cmake DESTINATION ${package_dir})

# The .pc file finds its prefix from its own place, so that an installed tree can be moved.
cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_INCLUDEDIR BASE_DIRECTORY
           ${CMAKE_INSTALL_PREFIX}/${pkgconfig_dir} OUTPUT_VARIABLE pkgconfig_to_include)
configure_file(${PROJECT_SOURCE_DIR}/cmake/skim.pc.in skim.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/skim.pc DESTINATION ${pkgconfig_dir})
