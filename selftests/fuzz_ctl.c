// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzzing what sockbeatctl reads in its arguments without ending the program
 * where it is wrong: filters, handles and numbers.
 *
 * Input: lines, each a text of its own; all those that are filters are one.
 */
#include <arpa/inet.h>
#include <libmnl/libmnl.h>

#include "../daemon/ctl.h"	/* there is one here too */
#include "fuzz.h"

static void check_number(const char *text)
{
	uint64_t value, again;
	char written[32];

	if (!ctl_number(text, UINT32_MAX, &value))
		return;
	CHECK(value <= UINT32_MAX);
	snprintf(written, sizeof(written), "%llu", (unsigned long long)value);
	CHECK(ctl_number(written, UINT32_MAX, &again) && again == value);
	snprintf(written, sizeof(written), "0x%llx", (unsigned long long)value);
	CHECK(ctl_number(written, value, &again) && again == value);
	CHECK(!value || !ctl_number(written, value - 1, &again));
}

static void check_handle(const char *text)
{
	char written[CTL_TEXT_CHARS];
	uint64_t handle, again;

	if (ctl_handle(text, &handle))
		CHECK(ctl_handle(ctl_handle_text(handle, written), &again) && again == handle);
}

/* An end of a connection, read again as ctl_filter_parse() would have it said. */
static void check_end(const char *name, const struct ctl_end *end, uint32_t family)
{
	char address[INET6_ADDRSTRLEN] = "", text[128], port[16] = "";
	struct ctl_end again;
	struct ctl_filter filter;

	CHECK(end->port >= -1 && end->port <= 65535);
	CHECK(end->len == 0 || end->len == 4 || end->len == 16);
	CHECK(end->prefix <= end->len * 8);
	if (end->port >= 0)
		snprintf(port, sizeof(port), ":%d", end->port);
	else if (!end->len)
		return;
	if (end->len) {
		CHECK(family == (end->len == 4 ? AF_INET : AF_INET6));
		CHECK(inet_ntop(end->len == 4 ? AF_INET : AF_INET6, end->addr, address, sizeof(address)));
		snprintf(text, sizeof(text), end->len == 4 ? "%s=%s/%u%s" : "%s=[%s]/%u%s", name,
			 address, end->prefix, port);
	} else {
		snprintf(text, sizeof(text), "%s=%s", name, port);
	}

	ctl_filter_init(&filter);
	CHECK(!ctl_filter_parse(&filter, text));
	again = name[0] == 'l' ? filter.local : filter.remote;
	CHECK(again.len == end->len && again.prefix == end->prefix && again.port == end->port);
	CHECK(!memcmp(again.addr, end->addr, end->len));
}

/* The number of milliseconds that is written there, or the most that there are. */
static void check_idle(const struct ctl_filter *filter, const char *text)
{
	unsigned __int128 ms = 0;

	for (; *text >= '0' && *text <= '9'; text++)
		ms = ms * 10 + *text - '0';
	ms *= !strcmp(text, "s") ? 1000 : !strcmp(text, "m") ? 60000 : !strcmp(text, "h") ? 3600000 : 1;
	CHECK(filter->idle_ms == ms);
}

static void check_filter(struct ctl_filter *all, const char *text)
{
	uint8_t request[MNL_SOCKET_BUFFER_SIZE];
	struct ctl_filter filter;
	struct nlmsghdr *nlh;
	const char *why;

	ctl_filter_init(&filter);
	why = ctl_filter_parse(&filter, text);
	if (why) {
		CHECK(*why);
		return;
	}
	check_end("local", &filter.local, filter.family);
	check_end("remote", &filter.remote, filter.family);
	if (!strncmp(text, "idle=", 5))
		check_idle(&filter, text + 5);
	CHECK(!filter.family || filter.family == AF_INET || filter.family == AF_INET6);
	CHECK(!(filter.states & ~15u));

	ctl_filter_parse(all, text);
	CHECK(all->family || (!all->local.len && !all->remote.len));
	nlh = mnl_nlmsg_put_header(request);
	ctl_filter_put(nlh, all);
	CHECK(nlh->nlmsg_len < 256);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ctl_filter filter;
	char *text, *line, *rest;

	text = malloc(size + 1);
	CHECK(text);
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	ctl_filter_init(&filter);
	for (rest = text; (line = strsep(&rest, "\n"));) {
		/* In a block of just that size. */
		line = strdup(line);
		CHECK(line);
		check_number(line);
		check_handle(line);
		check_filter(&filter, line);
		filter.process = NULL;	/* points into the line */
		free(line);
	}
	free(text);
	return 0;
}
