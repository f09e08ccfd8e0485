/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TCP segments that no TCP made, from a raw socket.
 */
#ifndef SELFTESTS_RAW_H
#define SELFTESTS_RAW_H

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#define RAW_BYTES	64	/* of payload */

static inline uint16_t raw_checksum(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *byte = data;

	for (; len > 1; len -= 2, byte += 2)
		sum += byte[0] << 8 | byte[1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* Addresses in host order; an even number of bytes. */
static inline bool raw_send(int raw, uint32_t from, uint32_t to, const struct tcphdr *tcp,
			    const void *data, size_t len)
{
	struct {
		struct iphdr ip;
		struct tcphdr tcp;
		uint8_t data[RAW_BYTES];
	} packet = {
		.ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP,
			.saddr = htonl(from), .daddr = htonl(to) },
		.tcp = *tcp,
	};
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = packet.ip.daddr };
	uint32_t pseudo = IPPROTO_TCP + sizeof(packet.tcp) + len;

	if (len)
		memcpy(packet.data, data, len);
	pseudo += (from >> 16) + (from & 0xffff) + (to >> 16) + (to & 0xffff);
	packet.tcp.doff = 5;
	packet.tcp.check = htons(raw_checksum(&packet.tcp, sizeof(packet.tcp) + len, pseudo));
	len += sizeof(packet.ip) + sizeof(packet.tcp);
	return sendto(raw, &packet, len, 0, (struct sockaddr *)&addr, sizeof(addr)) ==
	       (ssize_t)len;
}

#endif /* SELFTESTS_RAW_H */
