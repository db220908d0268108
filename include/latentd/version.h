/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LATENTD_VERSION_H
#define LATENTD_VERSION_H

#define LATENTD_VERSION "0.1.0"

/* The version of the message protocol, in every preamble (protocol.md §2). */
#define LATENTD_PROTOCOL_VERSION 1

#endif
