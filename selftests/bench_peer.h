/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TCP clients that are made by hand, behind a tun device: what happens between
 * the write() of a segment to the device and its return is the server's work,
 * in its kernel and in its process, and the client's part is one system call
 * whose cost can be measured by itself.
 *
 * The segments are those of a Linux client with timestamps.  Checksums are left
 * to the device in both directions, as with any network card.
 */
#ifndef SELFTESTS_BENCH_PEER_H
#define SELFTESTS_BENCH_PEER_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "tcp.h"

/* The server is 10.9.0.1, and each client address has so many ports. */
#define PEER_NET	0x0a090000
#define PEER_PORTS	10000
#define PEER_FIRST_PORT	20000

struct peer {
	uint32_t address;
	uint32_t seq, ack;
	uint32_t ts_recent;
	uint16_t port;
};

struct peer_segment {
	struct virtio_net_hdr vnet;
	struct iphdr ip;
	struct tcphdr tcp;
	uint8_t rest[1500];
} __attribute__((packed));

struct peer_net {
	int fd;
	uint16_t server_port;
	uint32_t clock;
	uint32_t bare_acks;	/* received */
	struct peer_segment segment;
	size_t len;
};

/* The device with the server's address, as short a way as loopback's: without a
 * queue.  0 or -1.
 */
static inline int peer_net_open(struct peer_net *net)
{
	struct ifreq ifr = { .ifr_name = "bench", .ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR };

	net->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (net->fd < 0 || ioctl(net->fd, TUNSETIFF, &ifr) ||
	    ioctl(net->fd, TUNSETOFFLOAD, TUN_F_CSUM))
		return -1;
	return sh("ip addr add 10.9.0.1/16 dev bench && ip link set bench up && "
		  "tc qdisc replace dev bench root noqueue") ? -1 : 0;
}

static inline uint16_t peer_ip_sum(const void *header)
{
	const uint8_t *at = header;
	uint32_t sum = 0;

	for (size_t i = 0; i < sizeof(struct iphdr); i += 2)
		sum += at[i] << 8 | at[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	return htons(~(sum + (sum >> 16)));
}

/* Make the next segment of a client. */
static inline void peer_make(struct peer_net *net, const struct peer *peer, uint8_t flags,
			     const void *data, size_t data_len)
{
	static const uint8_t syn_options[] = { 2, 4, 1460 >> 8, 1460 & 0xff, 4, 2 };
	struct peer_segment *s = &net->segment;
	uint8_t *option = s->rest;
	uint32_t ts[2];
	size_t len;

	memset(s, 0, offsetof(struct peer_segment, rest));
	if (flags & TH_SYN) {
		memcpy(option, syn_options, sizeof(syn_options));
		option += sizeof(syn_options);
	} else {
		*option++ = TCPOPT_NOP;
		*option++ = TCPOPT_NOP;
	}
	*option++ = TCPOPT_TIMESTAMP;
	*option++ = TCPOLEN_TIMESTAMP;
	ts[0] = htonl(++net->clock);
	ts[1] = htonl(peer->ts_recent);
	memcpy(option, ts, sizeof(ts));
	option += sizeof(ts);

	s->tcp.source = htons(peer->port);
	s->tcp.dest = htons(net->server_port);
	s->tcp.seq = htonl(peer->seq);
	s->tcp.ack_seq = htonl(peer->ack);
	s->tcp.doff = (sizeof(s->tcp) + (option - s->rest)) / 4;
	s->tcp.th_flags = flags;
	s->tcp.window = htons(65535);
	if (data_len)
		memcpy(option, data, data_len);
	len = sizeof(s->ip) + s->tcp.doff * 4 + data_len;

	s->ip.version = 4;
	s->ip.ihl = sizeof(s->ip) / 4;
	s->ip.tot_len = htons(len);
	s->ip.frag_off = htons(IP_DF);
	s->ip.ttl = 64;
	s->ip.protocol = IPPROTO_TCP;
	s->ip.saddr = htonl(peer->address);
	s->ip.daddr = htonl(PEER_NET | 1);
	s->ip.check = peer_ip_sum((uint8_t *)s + sizeof(s->vnet));

	s->vnet.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	s->vnet.csum_start = sizeof(s->ip);
	s->vnet.csum_offset = offsetof(struct tcphdr, check);
	net->len = sizeof(s->vnet) + len;
}

/* Nothing but this is measured. */
static inline bool peer_put(struct peer_net *net)
{
	return write(net->fd, &net->segment, net->len) == (ssize_t)net->len;
}

/* The next segment for a client, if there is one, less those without payload and
 * what is for others.  Returns the payload's length, -1 for none.
 */
static inline int peer_get(struct peer_net *net, struct peer *peer, void *data, size_t size)
{
	struct peer_segment s;
	size_t header, len;

	for (;;) {
		ssize_t got = read(net->fd, &s, sizeof(s));

		if (got < 0)
			return -1;
		if (s.ip.version != 4 || s.ip.protocol != IPPROTO_TCP ||
		    ntohl(s.ip.daddr) != peer->address || ntohs(s.tcp.dest) != peer->port)
			continue;
		header = sizeof(s.ip) + s.tcp.doff * 4;
		len = ntohs(s.ip.tot_len) - header;
		if (len > size || (s.tcp.th_flags & TH_RST))
			return -1;
		memcpy(data, (uint8_t *)&s.ip + header, len);
		/* The timestamps are at the end of all the options that are used. */
		if (s.tcp.th_flags & TH_SYN) {
			peer->ack = ntohl(s.tcp.seq) + 1;
			memcpy(&peer->ts_recent, s.rest + 8, 4);
		} else if (!len) {
			net->bare_acks++;
			continue;
		} else if (ntohl(s.tcp.seq) == peer->ack) {
			peer->ack += len;
			memcpy(&peer->ts_recent, s.rest + 4, 4);
		} else {
			continue;
		}
		peer->ts_recent = ntohl(peer->ts_recent);
		return len;
	}
}

/* Open client number @i's connection. */
static inline bool peer_connect(struct peer_net *net, struct peer *peer, unsigned int i)
{
	uint8_t none;

	*peer = (struct peer) {
		.address = PEER_NET + 256 + i / PEER_PORTS,
		.port = PEER_FIRST_PORT + i % PEER_PORTS,
		.seq = i * 12345,
	};
	peer_make(net, peer, TH_SYN, NULL, 0);
	if (!peer_put(net) || peer_get(net, peer, &none, 0))
		return false;
	peer->seq++;
	peer_make(net, peer, TH_ACK, NULL, 0);
	return peer_put(net);
}

/* Reset it. */
static inline void peer_reset(struct peer_net *net, struct peer *peer)
{
	peer_make(net, peer, TH_RST | TH_ACK, NULL, 0);
	peer_put(net);
}

#endif /* SELFTESTS_BENCH_PEER_H */
