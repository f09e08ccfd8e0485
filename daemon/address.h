/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Socket addresses as text: IPV4:PORT or [IPV6]:PORT.
 */
#ifndef SOCKBEAT_ADDRESS_H
#define SOCKBEAT_ADDRESS_H

#include <netinet/in.h>
#include <sys/socket.h>

#define ADDRESS_CHARS	(INET6_ADDRSTRLEN + sizeof("[]:65535"))

union address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

int address_parse(union address *address, const char *text);
const char *address_format(const union address *address, char text[ADDRESS_CHARS]);
socklen_t address_len(const union address *address);

#endif /* SOCKBEAT_ADDRESS_H */
