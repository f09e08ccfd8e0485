// SPDX-License-Identifier: BSD-3-Clause
/*
 * Heartbeats of protocols that are in wide use.
 */
#include <string.h>

#include "libsockbeat.h"

#define ALL8		"\377\377\377\377\377\377\377\377"

/* The lineage's header-only frame.  A client answers it by the same bytes, so
 * while a probe is out the next one is taken for its answer.
 */
#define NATIVE		"\0\10\0\0\0\0\0\0"

static const struct sockbeat_pattern native[] = {
	{ .value = NATIVE, .len = 8, .answers_probe = true },
	{ .value = NATIVE, .len = 8, .reply = NATIVE, .reply_len = 8 },
};

/* Redis serialization protocol: PING inline and as an array, in letters of
 * either case.  A server of this protocol sends nothing unasked.
 */
#define ANY_CASE4	"\337\337\337\337"

static const struct sockbeat_pattern resp[] = {
	{ .value = "PING\r\n", .len = 6, .mask = ANY_CASE4 "\377\377",
	  .reply = "+PONG\r\n", .reply_len = 7 },
	{ .value = "*1\r\n$4\r\nPING\r\n", .len = 14, .mask = ALL8 ANY_CASE4 "\377\377",
	  .reply = "+PONG\r\n", .reply_len = 7 },
};

/* MQTT 3.1.1 and 5.0, section 3.12: PINGREQ and PINGRESP.  Only clients ping. */
static const struct sockbeat_pattern mqtt[] = {
	{ .value = "\300\0", .len = 2, .reply = "\320\0", .reply_len = 2 },
};

/* RFC 6455, section 5.5.2: a ping of no payload, masked as clients have to. */
static const struct sockbeat_pattern websocket[] = {
	{ .value = "\211\200\0\0\0\0", .len = 6, .mask = "\377\377\0\0\0\0",
	  .reply = "\212\0", .reply_len = 2 },
	{ .value = "\212\200\0\0\0\0", .len = 6, .mask = "\377\377\0\0\0\0",
	  .answers_probe = true },
};

/* RFC 9113, section 6.7: PING of stream 0, whose 8 bytes come back with ACK.
 * The highest bit of the stream is reserved and ignored.
 */
#define HTTP2_PING	"\0\0\10\6\0\0\0\0\0"
#define HTTP2_PONG	"\0\0\10\6\1\0\0\0\0"

static const struct sockbeat_pattern http2[] = {
	{ .value = HTTP2_PING "\0\0\0\0\0\0\0\0", .len = 17,
	  .mask = "\377\377\377\377\377\177\377\377\377" "\0\0\0\0\0\0\0\0",
	  .reply = HTTP2_PONG "\0\0\0\0\0\0\0\0", .reply_len = 17,
	  .copy_from = 9, .copy_to = 9, .copy_bytes = 8 },
	{ .value = HTTP2_PONG "sockbeat", .len = 17,
	  .mask = "\377\377\377\377\377\177\377\377\377" ALL8, .answers_probe = true },
};

#define PATTERNS(p)	.patterns = (p), .n_patterns = sizeof(p) / sizeof((p)[0])

static const struct sockbeat_profile shipped[] = {
	{ .name = "native", .probe = NATIVE, .probe_len = 8, PATTERNS(native) },
	{ .name = "resp", PATTERNS(resp) },
	{ .name = "mqtt", PATTERNS(mqtt) },
	{ .name = "websocket", .probe = "\211\0", .probe_len = 2, PATTERNS(websocket) },
	{ .name = "http2", .probe = HTTP2_PING "sockbeat", .probe_len = 17, PATTERNS(http2) },
};

/**
 * sockbeat_profile_shipped - the profiles that come with the library
 * @i: 0 and up
 *
 * Return: the profile, NULL behind the last.
 */
const struct sockbeat_profile *sockbeat_profile_shipped(size_t i)
{
	return i < sizeof(shipped) / sizeof(shipped[0]) ? &shipped[i] : NULL;
}

/**
 * sockbeat_profile_named - a profile that comes with the library
 * @name: its name
 *
 * Return: the profile, to be copied where something in it is to be different;
 * NULL where none has this name.
 */
const struct sockbeat_profile *sockbeat_profile_named(const char *name)
{
	const struct sockbeat_profile *profile;

	for (size_t i = 0; (profile = sockbeat_profile_shipped(i)); i++) {
		if (!strcmp(profile->name, name))
			return profile;
	}
	return NULL;
}
