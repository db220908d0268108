# SPDX-License-Identifier: Apache-2.0
# The libraries the project stands on; floors are what Debian 12 has.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(nng 1.5.2 CONFIG REQUIRED)
pkg_check_modules(UV REQUIRED IMPORTED_TARGET libuv>=1.44)
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl>=7.88)
pkg_search_module(MSGPACK REQUIRED IMPORTED_TARGET msgpack-c>=4 msgpack>=4 msgpackc)
# Debian 13's msgpack-c.pc says -Iinclude; its headers are in /usr/include.
get_target_property(msgpack_dirs PkgConfig::MSGPACK INTERFACE_INCLUDE_DIRECTORIES)
if(msgpack_dirs)
	list(FILTER msgpack_dirs INCLUDE REGEX "^/")
	set_target_properties(PkgConfig::MSGPACK PROPERTIES
		INTERFACE_INCLUDE_DIRECTORIES "${msgpack_dirs}")
endif()
pkg_check_modules(PNG REQUIRED IMPORTED_TARGET libpng>=1.6)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(DEFLATE REQUIRED IMPORTED_TARGET libdeflate>=1.14)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson>=2.14)
pkg_check_modules(SECCOMP REQUIRED IMPORTED_TARGET libseccomp>=2.5)
pkg_check_modules(INIH REQUIRED IMPORTED_TARGET inih)
pkg_check_modules(MHD REQUIRED IMPORTED_TARGET libmicrohttpd>=0.9.75)
pkg_check_modules(LMDB REQUIRED IMPORTED_TARGET lmdb>=0.9.24)
pkg_check_modules(ISAL REQUIRED IMPORTED_TARGET libisal>=2.30)
pkg_check_modules(JPEG REQUIRED IMPORTED_TARGET libturbojpeg)
pkg_check_modules(AV REQUIRED IMPORTED_TARGET
	libavcodec libavformat libavutil libswscale)
# uthash is headers only and ships no pkg-config file.
find_path(UTHASH_INCLUDE_DIR uthash.h REQUIRED)
# mbedTLS 2.28 ships no pkg-config file.  nng has it in the process already.
find_path(MBEDCRYPTO_INCLUDE_DIR mbedtls/md.h REQUIRED)
find_library(MBEDCRYPTO_LIBRARY mbedcrypto REQUIRED)
find_library(MBEDX509_LIBRARY mbedx509 REQUIRED)
