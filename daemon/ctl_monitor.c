// SPDX-License-Identifier: BSD-3-Clause
/*
 * sockbeatctl monitor: the events that holders of sessions are told, a line each.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <linux/genetlink.h>

#include "ctl.h"

/* Of some thousand messages, which may hold 64 events each. */
#define BUFFER_BYTES	4194304

/**
 * struct monitor - what is watched
 * @json: an object a line
 * @count: end after so many events, 0 for never
 * @buffer: of the socket, in bytes
 * @events: seen
 * @overruns: times that events were lost
 * @lost: some were, and this is not said yet
 * @ctl: the module
 * @ch: for events
 */
struct monitor {
	bool json;
	uint64_t count;
	uint64_t buffer;
	uint64_t events;
	uint64_t overruns;
	bool lost;
	struct ctl ctl;
	struct channel ch;
};

static const struct argp_option options[] = {
	{ "json", 'j', NULL, 0, "Print a JSON object a line", 0 },
	{ "count", 'n', "COUNT", 0, "End after so many events", 0 },
	{ "buffer", CTL_OPTION_BUFFER, "BYTES", 0, "Receive buffer (4194304)", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct monitor *monitor = state->input;

	switch (key) {
	case 'j':
		monitor->json = true;
		break;
	case 'n':
		monitor->count = ctl_take_count(state, arg);
		break;
	case CTL_OPTION_BUFFER:
		if (!ctl_number(arg, INT32_MAX / 2, &monitor->buffer) || !monitor->buffer)
			argp_error(state, "--buffer: \"%s\" is not a number in the range 1..%d", arg,
				   INT32_MAX / 2);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.doc = "Print the events of all sessions in this network namespace, until SIGINT or SIGTERM. This takes CAP_NET_ADMIN.",
};

static const char *now_text(char text[CTL_TEXT_CHARS])
{
	struct timespec now;
	struct tm tm;
	size_t len;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	len = strftime(text, CTL_TEXT_CHARS, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + len, CTL_TEXT_CHARS - len, ".%03dZ", (int)(now.tv_nsec / 1000000));
	return text;
}

static void print_event(const struct monitor *monitor, uint32_t session,
			const struct ctl_attrs *event)
{
	const struct ctl_field *field = ctl_event_fields;
	char time[CTL_TEXT_CHARS], text[2][CTL_TEXT_CHARS];
	json_t *object;

	now_text(time);
	if (monitor->json) {
		object = json_object();
		json_object_set_new(object, "time", json_string(time));
		json_object_set_new(object, "session", json_integer(session));
		ctl_fields_json(object, ctl_event_fields, event);
		ctl_print_json(object);
		return;
	}
	printf("%s %u %s %s", time, session, ctl_field_text(&field[0], event, text[0]),
	       ctl_field_text(&field[1], event, text[1]));
	for (field += 2; field->name; field++) {
		if (ctl_field_given(field, event))
			printf(" %s=%s", field->name, ctl_field_text(field, event, text[0]));
	}
	putchar('\n');
}

/* What was lost cannot be known, only where: the kernel tells of it ahead of what
 * it kept, and loses on, without a word, until that is taken.  So the line belongs
 * behind that: whoever asks for the state when he reads it has missed nothing.
 */
static void print_loss(struct monitor *monitor)
{
	char time[CTL_TEXT_CHARS];
	json_t *object;

	monitor->lost = false;
	monitor->overruns++;
	now_text(time);
	if (!monitor->json) {
		printf("%s - lost - overruns=%llu\n", time, (unsigned long long)monitor->overruns);
	} else {
		object = json_object();
		json_object_set_new(object, "time", json_string(time));
		json_object_set_new(object, "event", json_string("lost"));
		json_object_set_new(object, "overruns", json_integer((json_int_t)monitor->overruns));
		ctl_print_json(object);
	}
	fflush(stdout);
}

static bool is_enough(const struct monitor *monitor)
{
	return (monitor->count && monitor->events >= monitor->count) || ferror(stdout);
}

static void take_message(struct monitor *monitor, const struct nlmsghdr *nlh)
{
	const struct genlmsghdr *genl = mnl_nlmsg_get_payload(nlh);
	struct ctl_attrs message, event;
	const struct nlattr *attr;
	uint32_t session;

	if (nlh->nlmsg_type != monitor->ctl.family ||
	    mnl_nlmsg_get_payload_len(nlh) < sizeof(*genl) ||
	    genl->cmd != SOCKBEAT_CMD_PEER_EVENT)
		return;
	ctl_attrs_parse(&message, genl + 1, mnl_nlmsg_get_payload_len(nlh) - sizeof(*genl));
	session = ctl_attrs_number(&message, SOCKBEAT_A_SESSION_ID);
	mnl_attr_for_each(attr, nlh, sizeof(*genl)) {
		if (mnl_attr_get_type(attr) != SOCKBEAT_A_SESSION_EVENT || is_enough(monitor))
			continue;
		ctl_attrs_nested(&event, attr);
		print_event(monitor, session, &event);
		fflush(stdout);
		monitor->events++;
	}
}

static int receive(struct monitor *monitor)
{
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)monitor->ch.rx;
	int left = channel_receive(&monitor->ch);

	if (left == -ENOBUFS) {
		if (monitor->lost)
			print_loss(monitor);
		monitor->lost = true;
		return CTL_DONE;
	}
	if (left == -EAGAIN)
		return CTL_DONE;
	if (left < 0)
		return ctl_fail("monitor: %s", monitor->ch.text);
	for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
		take_message(monitor, nlh);
	return CTL_DONE;
}

static int join(struct monitor *monitor)
{
	int fd = mnl_socket_get_fd(monitor->ch.nl), no = 0, bytes = (int)monitor->buffer;

	/* Requests need no news of an overrun; events do. */
	mnl_socket_setsockopt(monitor->ch.nl, NETLINK_NO_ENOBUFS, &no, sizeof(no));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	if (!monitor->ctl.group)
		return ctl_fail("monitor: this module has no group '%s'", SOCKBEAT_MCGRP_MONITOR);
	if (!mnl_socket_setsockopt(monitor->ch.nl, NETLINK_ADD_MEMBERSHIP, &monitor->ctl.group,
				   sizeof(monitor->ctl.group)))
		return CTL_DONE;
	return ctl_fail("monitor: %s%s", strerror(errno),
			errno == EPERM ? ": it takes CAP_NET_ADMIN" : "");
}

static int watch(struct monitor *monitor)
{
	struct pollfd fds[2] = {
		{ .fd = mnl_socket_get_fd(monitor->ch.nl), .events = POLLIN },
		{ .fd = ctl_watch_signals(), .events = POLLIN },
	};
	int status = CTL_DONE;

	if (fds[1].fd < 0)
		return ctl_fail("signals: %s", strerror(errno));
	while (status == CTL_DONE && !fds[1].revents && !is_enough(monitor)) {
		int ready = poll(fds, 2, monitor->lost ? 0 : -1);

		if (ready < 0 && errno != EINTR)
			status = ctl_fail("poll: %s", strerror(errno));
		else if (ready > 0 && fds[0].revents)
			status = receive(monitor);
		else if (!ready)
			print_loss(monitor);
	}
	if (monitor->lost)
		print_loss(monitor);
	close(fds[1].fd);
	return status;
}

int ctl_monitor(int argc, char **argv)
{
	static struct monitor monitor = { .buffer = BUFFER_BYTES };
	int status;

	ctl_parse(&argp, argc, argv, &monitor);
	if (ctl_open(&monitor.ctl))
		return CTL_FAILED;
	if (channel_open(&monitor.ch, SOCK_NONBLOCK))
		status = ctl_fail("monitor: %s", monitor.ch.text);
	else
		status = join(&monitor);
	if (status == CTL_DONE)
		status = watch(&monitor);
	channel_close(&monitor.ch);
	ctl_close(&monitor.ctl);
	return status;
}
