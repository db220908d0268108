# SPDX-License-Identifier: Apache-2.0
# Warnings and hardening for every target of the project: link with `house`.
add_library(house INTERFACE)
target_compile_definitions(house INTERFACE _GNU_SOURCE)
target_compile_options(house INTERFACE
	-Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes
	-Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings
	-Wconversion -Wsign-conversion -Wvla -Wundef -Wformat=2 -Wswitch-enum
	-Wnull-dereference -Wdouble-promotion
	-ffile-prefix-map=${CMAKE_SOURCE_DIR}/=)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
	# clang does not see the comments in uthash's macros that gcc goes by.
	target_compile_options(house INTERFACE
		-Wduplicated-cond -Wlogical-op -Wimplicit-fallthrough)
endif()
if(LATENTD_WERROR)
	target_compile_options(house INTERFACE -Werror)
endif()
if(LATENTD_SANITIZE)
	target_compile_options(house INTERFACE
		-fsanitize=${LATENTD_SANITIZE} -fno-omit-frame-pointer)
	target_link_options(house INTERFACE -fsanitize=${LATENTD_SANITIZE})
	if(LATENTD_SANITIZE MATCHES "undefined")
		target_compile_options(house INTERFACE -fno-sanitize-recover=undefined)
	endif()
else()
	target_compile_options(house INTERFACE
		-fstack-protector-strong -fstack-clash-protection)
	if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
		target_compile_options(house INTERFACE
			-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
	endif()
	target_link_options(house INTERFACE -Wl,-z,relro,-z,now)
endif()
# Assertions stay on in release: NDEBUG is never defined.
string(REPLACE "-DNDEBUG" "" CMAKE_C_FLAGS_RELEASE "${CMAKE_C_FLAGS_RELEASE}")
string(REPLACE "-DNDEBUG" "" CMAKE_C_FLAGS_RELWITHDEBINFO "${CMAKE_C_FLAGS_RELWITHDEBINFO}")
