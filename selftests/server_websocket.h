/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * WebSocket, RFC 6455: what comes goes back.
 */
#include <nettle/base64.h>
#include <nettle/sha1.h>

enum {
	WEBSOCKET_CLOSE = 8,
	WEBSOCKET_PING = 9,
	WEBSOCKET_PONG = 10,
};

static void websocket_accept(struct conn *c, const char *key, size_t len)
{
	static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	char accept[BASE64_ENCODE_RAW_LENGTH(SHA1_DIGEST_SIZE)];
	uint8_t digest[SHA1_DIGEST_SIZE];
	struct sha1_ctx sha1;

	sha1_init(&sha1);
	sha1_update(&sha1, len, (const uint8_t *)key);
	sha1_update(&sha1, strlen(magic), (const uint8_t *)magic);
	sha1_digest(&sha1, sizeof(digest), digest);
	base64_encode_raw(accept, sizeof(digest), digest);
	say_text(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
		 "Connection: Upgrade\r\nSec-WebSocket-Accept: ");
	say(c, accept, sizeof(accept));
	say_text(c, "\r\n\r\n");
}

static ssize_t websocket_upgrade(struct server *s, struct conn *c, const uint8_t *in, size_t len)
{
	static const char name[] = "\r\nSec-WebSocket-Key: ";
	const uint8_t *end = memmem(in, len, "\r\n\r\n", 4);
	char head[4096], *key;

	if (!end)
		return len < sizeof(head) ? 0 : -1;
	len = end + 4 - in;
	if (len >= sizeof(head))
		return -1;
	memcpy(head, in, len);
	head[len] = '\0';
	key = strcasestr(head, name);
	if (!key)
		return -1;
	key += strlen(name);
	websocket_accept(c, key, strcspn(key, "\r"));
	begin_offload(s, c);
	return len;
}

/* Not masked, as servers have to. */
static void websocket_say(struct conn *c, uint8_t first, const uint8_t *data, size_t len)
{
	uint8_t head[4] = { first, len, len >> 8, len };

	if (len < 126) {
		say(c, head, 2);
	} else {
		head[1] = 126;
		say(c, head, 4);
	}
	say(c, data, len);
}

static void websocket_answer(struct server *s, struct conn *c, uint8_t first,
			     const uint8_t *data, size_t len)
{
	switch (first & 0x0f) {
	case WEBSOCKET_PING:
		if (len)
			s->requests++;
		else
			s->heartbeats++;
		first = 0x80 | WEBSOCKET_PONG;
		break;
	case WEBSOCKET_PONG:
		s->pongs++;
		return;
	case WEBSOCKET_CLOSE:
		c->is_ending = true;
		break;
	default:
		s->requests++;
	}
	websocket_say(c, first, data, len);
}

static ssize_t websocket_feed(struct server *s, struct conn *c, const uint8_t *in, size_t len)
{
	uint8_t data[UINT16_MAX];
	size_t head = 2, size;

	if (!c->is_up)
		return websocket_upgrade(s, c, in, len);
	if (len < head)
		return 0;
	size = in[1] & 0x7f;
	/* Clients mask, and send nothing so long that its length has 64 bits. */
	if (!(in[1] & 0x80) || size == 127)
		return -1;
	if (size == 126) {
		head = 4;
		if (len < head)
			return 0;
		size = in[2] << 8 | in[3];
	}
	if (len < head + 4 + size)
		return 0;
	for (size_t i = 0; i < size; i++)
		data[i] = in[head + 4 + i] ^ in[head + i % 4];
	websocket_answer(s, c, in[0], data, size);
	return head + 4 + size;
}

static const struct protocol websocket = { "websocket", NULL, websocket_feed };
