// SPDX-License-Identifier: BSD-3-Clause
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"

/**
 * address_parse - read ADDRESS:PORT
 * @address: set
 * @text: an IPv4 address, or an IPv6 address in brackets, a colon, a port
 *
 * Return: 0, or -EINVAL.
 */
int address_parse(union address *address, const char *text)
{
	const char *colon = strrchr(text, ':');
	char host[INET6_ADDRSTRLEN + 2];
	unsigned long port;
	size_t len;
	char *end;

	if (!colon || colon == text || colon[1] < '0' || colon[1] > '9')
		return -EINVAL;
	port = strtoul(colon + 1, &end, 10);
	len = colon - text;
	if (*end || port > 65535 || len >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';

	memset(address, 0, sizeof(*address));
	if (host[0] != '[') {
		address->in.sin_family = AF_INET;
		address->in.sin_port = htons(port);
		return inet_pton(AF_INET, host, &address->in.sin_addr) == 1 ? 0 : -EINVAL;
	}
	if (host[len - 1] != ']')
		return -EINVAL;
	host[len - 1] = '\0';
	address->in6.sin6_family = AF_INET6;
	address->in6.sin6_port = htons(port);
	return inet_pton(AF_INET6, host + 1, &address->in6.sin6_addr) == 1 ? 0 : -EINVAL;
}

/**
 * address_format - write an address as address_parse() reads it
 * @address: the address
 * @text: written
 *
 * Return: @text.
 */
const char *address_format(const union address *address,
				  char text[ADDRESS_CHARS])
{
	char host[INET6_ADDRSTRLEN];

	if (address->sa.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &address->in6.sin6_addr, host, sizeof(host));
		snprintf(text, ADDRESS_CHARS, "[%s]:%u", host,
			 ntohs(address->in6.sin6_port));
	} else {
		inet_ntop(AF_INET, &address->in.sin_addr, host, sizeof(host));
		snprintf(text, ADDRESS_CHARS, "%s:%u", host,
			 ntohs(address->in.sin_port));
	}
	return text;
}

/**
 * address_len - size of an address, as bind() and connect() want it
 * @address: the address
 *
 * Return: the size.
 */
socklen_t address_len(const union address *address)
{
	return address->sa.sa_family == AF_INET6 ? sizeof(address->in6) : sizeof(address->in);
}
