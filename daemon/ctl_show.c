// SPDX-License-Identifier: BSD-3-Clause
/*
 * sockbeatctl show, sessions, stats: a peer, the sessions, their counters.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"

/**
 * struct show - what is to be shown
 * @json: as JSON
 * @no_header: without the line of column names
 * @has_session: only of the session @session
 * @session: see above
 * @has_handle: @handle was given
 * @handle: the peer
 */
struct show {
	bool json;
	bool no_header;
	bool has_session;
	uint32_t session;
	bool has_handle;
	uint64_t handle;
};

static void take_session(struct argp_state *state, struct show *show, const char *text)
{
	show->session = ctl_take_session(state, text);
	if (show->has_session)
		argp_error(state, "more than one session");
	show->has_session = true;
}

/* What all commands here do: ask for the sessions, and show something of them. */
static int with_sessions(const struct show *show,
			 int (*run)(struct ctl *ctl, const struct show *show,
				    const struct ctl_sessions *sessions))
{
	struct ctl_sessions sessions;
	static struct ctl ctl;
	int status;

	if (ctl_open(&ctl))
		return CTL_FAILED;
	status = ctl_sessions_get(&ctl, &sessions);
	if (status == CTL_DONE)
		status = run(&ctl, show, &sessions);
	ctl_sessions_free(&sessions);
	ctl_close(&ctl);
	return status;
}

/* A peer. */

static const struct argp_option peer_options[] = {
	{ "json", 'j', NULL, 0, "Print a JSON object", 0 },
	{ "session", 's', "SESSION", 0, "Whose peer it is; needed where two sessions have this handle", 0 },
	{ 0 },
};

static error_t parse_peer(int key, char *arg, struct argp_state *state)
{
	struct show *show = state->input;

	switch (key) {
	case 'j':
		show->json = true;
		break;
	case 's':
		take_session(state, show, arg);
		break;
	case ARGP_KEY_ARG:
		if (show->has_handle)
			argp_error(state, "more than one handle");
		show->has_handle = true;
		show->handle = ctl_take_handle(state, arg);
		break;
	case ARGP_KEY_END:
		if (!show->has_handle)
			argp_error(state, "a handle is missing");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp peer_argp = {
	.options = peer_options,
	.parser = parse_peer,
	.args_doc = "HANDLE",
	.doc = "Show all that is known of a peer.",
};

/**
 * struct found - a peer that was looked for
 * @copy: the answer
 * @peer: its attributes, in @copy
 */
struct found {
	_Alignas(8) char copy[4096];
	struct ctl_attrs peer;
};

static int take_peer(const void *data, size_t len, void *arg)
{
	struct found *found = arg;
	struct ctl_attrs message;

	if (len > sizeof(found->copy))
		return -EBADMSG;
	memcpy(found->copy, data, len);
	ctl_attrs_parse(&message, found->copy, len);
	ctl_attrs_nested(&found->peer, message.tb[SOCKBEAT_A_SESSION_PEER]);
	return found->peer.tb[SOCKBEAT_A_PEER_HANDLE] ? 0 : -EBADMSG;
}

static int get_peer(struct ctl *ctl, uint32_t session, uint64_t handle, struct found *found)
{
	struct nlmsghdr *nlh;
	struct nlattr *nest;

	nlh = ctl_session_request(ctl, SOCKBEAT_CMD_PEER_GET, NLM_F_ACK, session);
	nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_SESSION_PEER);
	mnl_attr_put_u64(nlh, SOCKBEAT_A_PEER_HANDLE, handle);
	mnl_attr_nest_end(nlh, nest);
	return channel_request(&ctl->ch, nlh, take_peer, found);
}

static int print_peer(const struct show *show, const struct ctl_session *session,
		      const struct ctl_attrs *peer)
{
	char text[CTL_TEXT_CHARS];
	const struct ctl_field *field;

	if (show->json)
		return ctl_print_json(ctl_peer_json(session, peer));
	printf("%-16s %u\n", "session", session->id);
	printf("%-16s %s\n", "process", ctl_session_process(session, text));
	for (field = ctl_peer_fields; field->name; field++) {
		if (ctl_field_given(field, peer))
			printf("%-16s %s\n", field->name, ctl_field_text(field, peer, text));
	}
	return CTL_DONE;
}

static int show_peer(struct ctl *ctl, const struct show *show, const struct ctl_sessions *sessions)
{
	const struct ctl_session *of = NULL;
	static struct found found;
	char handle[CTL_TEXT_CHARS];
	int err;

	ctl_handle_text(show->handle, handle);
	if (show->has_session && !ctl_sessions_find(sessions, show->session))
		return ctl_session_unknown(show->session);
	for (size_t i = 0; i < sessions->n; i++) {
		if (show->has_session && sessions->at[i].id != show->session)
			continue;
		err = get_peer(ctl, sessions->at[i].id, show->handle, &found);
		if (err == -ENOENT)
			continue;
		if (err)
			return ctl_request_failed(ctl, handle, err);
		if (of)
			return ctl_fail("%s: sessions %u and %u have this handle: name one with -s",
					handle, of->id, sessions->at[i].id);
		of = &sessions->at[i];
	}
	if (!of)
		return ctl_fail("%s: no peer has this handle", handle);
	return print_peer(show, of, &found.peer);
}

int ctl_show(int argc, char **argv)
{
	struct show show = { 0 };

	ctl_parse(&peer_argp, argc, argv, &show);
	return with_sessions(&show, show_peer);
}

/* Sessions. */

static const struct argp_option session_options[] = {
	{ "json", 'j', NULL, 0, "Print a JSON array, an object a line", 0 },
	{ "no-header", 'H', NULL, 0, "Without the line of column names", 0 },
	{ 0 },
};

static error_t parse_sessions(int key, char *arg, struct argp_state *state)
{
	struct show *show = state->input;

	switch (key) {
	case 'j':
		show->json = true;
		break;
	case 'H':
		show->no_header = true;
		break;
	case ARGP_KEY_ARG:
		take_session(state, show, arg);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp sessions_argp = {
	.options = session_options,
	.parser = parse_sessions,
	.args_doc = "[SESSION]",
	.doc = "List sessions, with their settings as `set` takes them.",
};

#define SESSION_ROW	"%-7s %7s %-15s %5s %8s %8s %8s %8s %9s %-8s %s"

static const char *number_text(const struct ctl_attrs *attrs, unsigned int type, char text[24])
{
	snprintf(text, 24, "%llu", (unsigned long long)ctl_attrs_number(attrs, type));
	return text;
}

static void print_session(const struct ctl_session *session)
{
	char t[8][24], text[CTL_TEXT_CHARS];
	const struct ctl_field *field;
	const char *separator = "";

	printf(SESSION_ROW, number_text(&session->attrs, SOCKBEAT_A_SESSION_ID, t[0]),
	       session->pid ? number_text(&session->attrs, SOCKBEAT_A_SESSION_PID, t[1]) : "-",
	       session->comm, number_text(&session->attrs, SOCKBEAT_A_SESSION_UID, t[2]),
	       number_text(&session->attrs, SOCKBEAT_A_SESSION_CAPACITY, t[3]),
	       number_text(&session->stats, SOCKBEAT_A_STATS_LIVE, t[4]),
	       number_text(&session->stats, SOCKBEAT_A_STATS_SILENT, t[5]),
	       number_text(&session->stats, SOCKBEAT_A_STATS_GONE, t[6]),
	       number_text(&session->stats, SOCKBEAT_A_STATS_RECYCLING, t[7]),
	       ctl_session_guard(session), "");
	for (field = ctl_session_fields; field->name; field++) {
		if (!field->may_set || !ctl_field_given(field, &session->attrs))
			continue;
		printf("%s%s=%s", separator, field->name,
		       ctl_field_text(field, &session->attrs, text));
		separator = " ";
	}
	putchar('\n');
}

static int show_sessions(struct ctl *ctl, const struct show *show,
			 const struct ctl_sessions *sessions)
{
	size_t n = 0;

	(void)ctl;
	if (show->has_session && !ctl_sessions_find(sessions, show->session))
		return ctl_session_unknown(show->session);
	if (show->json)
		putchar('[');
	else if (!show->no_header)
		printf(SESSION_ROW "\n", "Session", "Pid", "Process", "Uid", "Capacity", "Live", "Silent",
		       "Gone", "Recycling", "Guard", "Settings");
	for (size_t i = 0; i < sessions->n; i++) {
		if (show->has_session && sessions->at[i].id != show->session)
			continue;
		if (!show->json) {
			print_session(&sessions->at[i]);
			continue;
		}
		ctl_print_element(ctl_session_json(&sessions->at[i]), !n++);
	}
	if (show->json)
		fputs(n ? "\n]\n" : "]\n", stdout);
	return CTL_DONE;
}

/* Counters. */

static const struct argp_option stats_options[] = {
	{ "json", 'j', NULL, 0, "Print a JSON object", 0 },
	{ 0 },
};

static const struct argp stats_argp = {
	.options = stats_options,
	.parser = parse_sessions,
	.args_doc = "[SESSION]",
	.doc = "Show counters of one session, or their sums over all that you may see.",
};

static int show_stats(struct ctl *ctl, const struct show *show,
		      const struct ctl_sessions *sessions)
{
	const char *what = show->has_session ? "session" : "sessions";
	uint64_t first = show->has_session ? show->session : sessions->n;
	json_t *object = show->json ? json_object() : NULL;
	const struct ctl_field *field;
	uint64_t sum;

	(void)ctl;
	if (show->has_session && !ctl_sessions_find(sessions, show->session)) {
		json_decref(object);
		return ctl_session_unknown(show->session);
	}
	if (object)
		json_object_set_new(object, what, json_integer((json_int_t)first));
	else
		printf("%-16s %llu\n", what, (unsigned long long)first);
	for (field = ctl_stats_fields; field->name; field++) {
		sum = 0;
		for (size_t i = 0; i < sessions->n; i++) {
			if (!show->has_session || sessions->at[i].id == show->session)
				sum += ctl_attrs_number(&sessions->at[i].stats, field->type);
		}
		if (object)
			json_object_set_new(object, field->name, json_integer((json_int_t)sum));
		else
			printf("%-16s %llu\n", field->name, (unsigned long long)sum);
	}
	return object ? ctl_print_json(object) : CTL_DONE;
}

int ctl_show_sessions(int argc, char **argv)
{
	struct show show = { 0 };

	ctl_parse(&sessions_argp, argc, argv, &show);
	return with_sessions(&show, show_sessions);
}

int ctl_stats(int argc, char **argv)
{
	struct show show = { 0 };

	ctl_parse(&stats_argp, argc, argv, &show);
	return with_sessions(&show, show_stats);
}
