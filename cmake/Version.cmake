# SPDX-License-Identifier: Apache-2.0
# What --version prints, asked for at every build: link with `build_version` and
# include <build_version.h>.
set(build_version_dir ${CMAKE_BINARY_DIR}/version)
add_custom_target(build_version_header
	COMMAND ${CMAKE_SOURCE_DIR}/cmake/version.sh
		${build_version_dir}/build_version.h
	BYPRODUCTS ${build_version_dir}/build_version.h
	COMMENT "Asking for the version"
	VERBATIM)
add_library(build_version INTERFACE)
target_include_directories(build_version INTERFACE ${build_version_dir})
add_dependencies(build_version build_version_header)
