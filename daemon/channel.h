/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A netlink socket for requests that are answered: what engine_kernel.c needs
 * beyond libmnl.
 */
#ifndef SOCKBEAT_CHANNEL_H
#define SOCKBEAT_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <libmnl/libmnl.h>

/* A batch of 64 peers takes less than 5 KiB; the kernel fills 32 KiB at most
 * with one piece of a dump.
 */
#define CHANNEL_TX_BYTES	8192
#define CHANNEL_RX_BYTES	32768

/**
 * struct channel - a netlink socket and the request that is under way
 * @nl: the socket
 * @port: its netlink port
 * @seq: of the last request
 * @bad_offset: where in the last request the attribute lay that it failed for,
 *		0 where the kernel did not say
 * @text: why the last request failed
 * @tx: the request
 * @rx: the answer
 */
struct channel {
	struct mnl_socket *nl;
	uint32_t port;
	uint32_t seq;
	uint32_t bad_offset;
	bool is_acked;
	char text[192];
	_Alignas(8) char tx[CHANNEL_TX_BYTES];
	_Alignas(8) char rx[CHANNEL_RX_BYTES];
};

/**
 * typedef channel_cb - takes one message of an answer
 * @attrs: its attributes, behind the generic netlink header
 * @len: their length
 * @arg: as given to channel_request()
 *
 * Return: 0, or what channel_request() shall return at once.
 */
typedef int (*channel_cb)(const void *attrs, size_t len, void *arg);

int channel_open(struct channel *ch, int socket_flags);
void channel_close(struct channel *ch);
struct nlmsghdr *channel_begin(struct channel *ch, uint16_t family, uint8_t cmd, uint16_t flags);
int channel_send(struct channel *ch, const struct nlmsghdr *nlh);
int channel_receive(struct channel *ch);
int channel_resolve(struct channel *ch, const char *family, channel_cb cb, void *arg);
int channel_request(struct channel *ch, const struct nlmsghdr *nlh, channel_cb cb, void *arg);
int channel_read_error(struct channel *ch, const struct nlmsghdr *nlh);

int attrs_parse(const void *attrs, size_t len, const struct nlattr **tb, unsigned int max);
bool attr_read(const struct nlattr *attr, void *value, size_t size);

#endif /* SOCKBEAT_CHANNEL_H */
