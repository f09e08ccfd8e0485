/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The Redis serialization protocol, as much of it as redis-cli and
 * redis-benchmark ask for.  GET of a key `slow:MS` takes that long.
 */
#define RESP_ARGS	16

struct resp_text {
	const char *at;
	size_t len;
};

struct resp_entry {
	struct resp_entry *next;
	struct bytes key, value;
};

static struct resp_entry *resp_entries;

static bool resp_is(struct resp_text text, const char *word)
{
	return text.len == strlen(word) && !strncasecmp(text.at, word, text.len);
}

/* A line without its end; returns how long it is with it, 0 for no end yet. */
static size_t resp_line(const char *in, size_t len, struct resp_text *line)
{
	const char *end = memchr(in, '\n', len);

	if (!end)
		return 0;
	line->at = in;
	line->len = end - in;
	if (line->len && end[-1] == '\r')
		line->len--;
	return end + 1 - in;
}

/* "*3" or "$5"; -1 for anything else. */
static long resp_number(struct resp_text line, char kind)
{
	char text[16] = "", *end;
	long n;

	if (line.len < 2 || line.len >= sizeof(text) || line.at[0] != kind)
		return -1;
	memcpy(text, line.at + 1, line.len - 1);
	n = strtol(text, &end, 10);
	return *end || n < 0 ? -1 : n;
}

static int resp_split(struct resp_text line, struct resp_text *args)
{
	const char *at = line.at, *end = line.at + line.len;
	int n = 0;

	while (at < end && n < RESP_ARGS) {
		const char *space = memchr(at, ' ', end - at);

		if (!space)
			space = end;
		if (space > at)
			args[n++] = (struct resp_text){ at, space - at };
		at = space + 1;
	}
	return n;
}

/* Both forms of a command; returns as struct protocol's feed does. */
static ssize_t resp_parse(const char *in, size_t len, struct resp_text *args, int *n)
{
	struct resp_text line;
	size_t at = resp_line(in, len, &line), used;
	long count, size;

	*n = 0;
	if (!at)
		return 0;
	if (*in != '*') {
		*n = resp_split(line, args);
		return at;
	}
	count = resp_number(line, '*');
	if (count < 0 || count > RESP_ARGS)
		return -1;
	while (*n < count) {
		used = resp_line(in + at, len - at, &line);
		if (!used)
			return 0;
		size = resp_number(line, '$');
		if (size < 0)
			return -1;
		at += used;
		if (len - at < size + 2UL)
			return 0;
		args[(*n)++] = (struct resp_text){ in + at, size };
		at += size + 2;
	}
	return at;
}

static void resp_bulk(struct conn *c, const void *data, size_t len)
{
	char head[32];

	say(c, head, snprintf(head, sizeof(head), "$%zu\r\n", len));
	say(c, data, len);
	say_text(c, "\r\n");
}

static struct resp_entry *resp_find(struct resp_text key)
{
	struct resp_entry *e = resp_entries;

	while (e && (e->key.len != key.len || memcmp(e->key.data, key.at, key.len)))
		e = e->next;
	return e;
}

static void resp_set(struct resp_text key, struct resp_text value)
{
	struct resp_entry *e = resp_find(key);

	if (!e) {
		e = calloc(1, sizeof(*e));
		if (!e)
			abort();
		bytes_add(&e->key, key.at, key.len);
		e->next = resp_entries;
		resp_entries = e;
	}
	e->value.len = 0;
	bytes_add(&e->value, value.at, value.len);
}

static void resp_get(struct conn *c, struct resp_text key)
{
	const struct resp_entry *e = resp_find(key);

	if (e)
		resp_bulk(c, e->value.data, e->value.len);
	else
		say_text(c, "$-1\r\n");
}

static void resp_hello(struct conn *c, const struct resp_text *args, int n)
{
	if (n > 1 && !resp_is(args[1], "2"))
		say_text(c, "-NOPROTO unsupported protocol version\r\n");
	else
		say_text(c, "*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:2\r\n");
}

static void resp_answer(struct server *s, struct conn *c, const struct resp_text *args, int n)
{
	if (resp_is(args[0], "PING")) {
		if (n == 1) {
			s->heartbeats++;
			say_text(c, "+PONG\r\n");
			return;
		}
		resp_bulk(c, args[1].at, args[1].len);
	} else if (resp_is(args[0], "ECHO") && n == 2) {
		resp_bulk(c, args[1].at, args[1].len);
	} else if (resp_is(args[0], "GET") && n == 2) {
		resp_get(c, args[1]);
	} else if (resp_is(args[0], "SET") && n == 3) {
		resp_set(args[1], args[2]);
		say_text(c, "+OK\r\n");
	} else if (resp_is(args[0], "HELLO")) {
		resp_hello(c, args, n);
	} else if (resp_is(args[0], "CLIENT")) {
		say_text(c, "+OK\r\n");
	} else if (resp_is(args[0], "COMMAND")) {
		say_text(c, "*0\r\n");
	} else if (resp_is(args[0], "CONFIG") && n == 3) {
		say_text(c, "*2\r\n");
		resp_bulk(c, args[2].at, args[2].len);
		resp_bulk(c, "", 0);
	} else {
		say_text(c, "-ERR unknown command\r\n");
	}
	s->requests++;
}

static ssize_t resp_feed(struct server *s, struct conn *c, const uint8_t *in, size_t len)
{
	struct resp_text args[RESP_ARGS];
	ssize_t used;
	int n;

	used = resp_parse((const char *)in, len, args, &n);
	if (used <= 0 || !n)
		return used;
	if (!c->is_due && n == 2 && resp_is(args[0], "GET") && args[1].len > 5 &&
	    !memcmp(args[1].at, "slow:", 5)) {
		/* Something that is no digit ends the key in any case. */
		wait_for(s, c, strtoul(args[1].at + 5, NULL, 10));
		return 0;
	}
	c->is_due = false;
	resp_answer(s, c, args, n);
	return used;
}

static const struct protocol resp = { "resp", begin_offload, resp_feed };
