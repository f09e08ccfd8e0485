// SPDX-License-Identifier: BSD-3-Clause
/*
 * sockbeatctl set, recycle, abort: what changes sessions and peers.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

#define MAX_SETTINGS	32

/**
 * struct setting - a setting to be made
 * @text: NAME=VALUE as it was given
 * @field: what it names
 * @value: its value
 * @begin: where its attribute begins in the request
 * @past: where it ends
 */
struct setting {
	const char *text;
	const struct ctl_field *field;
	uint64_t value;
	uint32_t begin;
	uint32_t past;
};

/**
 * struct change - a request
 * @has_session: @session was given
 * @session: on which session
 * @handles: on which peers
 * @past: where each of them ends in the request
 * @n_handles: how many
 * @settings: what is to be set
 * @n_settings: how many
 * @has_delay: @delay_ms was given
 * @delay_ms: for recycle
 * @end: what is done to the socket
 * @ctl: the module
 */
struct change {
	bool has_session;
	uint32_t session;
	uint64_t handles[CTL_HANDLES_MAX];
	uint32_t past[CTL_HANDLES_MAX];
	size_t n_handles;
	struct setting settings[MAX_SETTINGS];
	size_t n_settings;
	bool has_delay;
	uint32_t delay_ms;
	enum sockbeat_end end;
	struct ctl ctl;
};

static void take_session(struct argp_state *state, struct change *change, const char *text)
{
	change->session = ctl_take_session(state, text);
	change->has_session = true;
}

static void take_handle(struct argp_state *state, struct change *change, const char *text)
{
	if (change->n_handles == CTL_HANDLES_MAX)
		argp_error(state, "more than %d handles", CTL_HANDLES_MAX);
	change->handles[change->n_handles++] = ctl_take_handle(state, text);
}

/* Settings. */

static void list_names(char *list, size_t size, const char *const *names)
{
	size_t len = 0;

	for (; *names; names++) {
		if (**names && len < size)
			len += snprintf(list + len, size - len, "%s%s", len ? ", " : "", *names);
	}
}

/* The kernel knows the ranges; what it takes is 32 bits. */
static void read_value(struct argp_state *state, struct setting *setting, const char *value)
{
	const struct ctl_field *field = setting->field;
	char list[128] = "";
	int number;

	if (field->kind != CTL_NAME) {
		if (!ctl_number(value, UINT32_MAX, &setting->value))
			argp_error(state, "%s: \"%s\" is not a number in the range 0..%u", field->name,
				   value, UINT32_MAX);
		return;
	}
	number = ctl_name_value(field->names, value);
	list_names(list, sizeof(list), field->names);
	if (number < 0)
		argp_error(state, "%s: \"%s\" is not one of: %s", field->name, value, list);
	setting->value = number;
}

/* timeout-ms is timeout_ms. */
static bool same_name(const char *name, const char *text, size_t len)
{
	size_t i;

	for (i = 0; i < len && name[i]; i++) {
		if (name[i] != (text[i] == '-' ? '_' : text[i]))
			return false;
	}
	return i == len && !name[i];
}

static void take_setting(struct argp_state *state, struct change *change, const char *text)
{
	const struct ctl_field *field = change->n_handles ? ctl_peer_fields : ctl_session_fields;
	const char *what = change->n_handles ? "peer" : "session";
	struct setting *setting = &change->settings[change->n_settings];
	size_t len = strcspn(text, "=");

	if (change->n_settings == MAX_SETTINGS)
		argp_error(state, "more than %d settings", MAX_SETTINGS);
	while (field->name && !(field->may_set && same_name(field->name, text, len)))
		field++;
	if (!field->name)
		argp_error(state, "\"%.*s\" is no setting of a %s that can be changed", (int)len, text,
			   what);
	for (size_t i = 0; i < change->n_settings; i++) {
		if (change->settings[i].field == field)
			argp_error(state, "%s is given twice", field->name);
	}
	setting->text = text;
	setting->field = field;
	read_value(state, setting, text + len + 1);
	change->n_settings++;
}

static error_t parse_set(int key, char *arg, struct argp_state *state)
{
	struct change *change = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		if (!change->has_session)
			take_session(state, change, arg);
		else if (strchr(arg, '='))
			take_setting(state, change, arg);
		else if (!change->n_handles && !change->n_settings)
			take_handle(state, change, arg);
		else
			argp_error(state, "\"%s\" is not NAME=VALUE", arg);
		break;
	case ARGP_KEY_END:
		if (!change->has_session)
			argp_error(state, "a session is missing");
		if (!change->n_settings)
			argp_error(state, "nothing to set");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp set_argp = {
	.parser = parse_set,
	.args_doc = "SESSION NAME=VALUE...\nSESSION HANDLE NAME=VALUE...",
	.doc = "Change settings of a peer, or of a session, for peers that are added later; "
	       "adaptive_min_ms and the guard are those of all its peers at once. All are made, or none.\n"
	       "Of both: timeout_ms, renotify_ms, source=activity|beat|either, trigger=level|edge, "
	       "action=notify|shutdown|abort, act_after_ms, suspect_percent, adaptive_beats. "
	       "Of a session also: recycle_delay_ms, adaptive_min_ms, guard_percent, guard_window_ms. "
	       "Of a peer also: probe_after_ms.",
};

static void put_settings(struct nlmsghdr *nlh, struct change *change)
{
	for (size_t i = 0; i < change->n_settings; i++) {
		struct setting *setting = &change->settings[i];

		setting->begin = nlh->nlmsg_len;
		mnl_attr_put_u32(nlh, setting->field->type, (uint32_t)setting->value);
		setting->past = nlh->nlmsg_len;
	}
}

/* All handles of a request get the same. */
static void put_peers(struct nlmsghdr *nlh, struct change *change, uint8_t cmd)
{
	struct nlattr *nest;

	for (size_t i = 0; i < change->n_handles; i++) {
		nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_SESSION_PEER);
		mnl_attr_put_u64(nlh, SOCKBEAT_A_PEER_HANDLE, change->handles[i]);
		if (cmd == SOCKBEAT_CMD_PEER_SET)
			put_settings(nlh, change);
		else
			mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_END, change->end);
		if (change->has_delay)
			mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_RECYCLE_DELAY_MS, change->delay_ms);
		mnl_attr_nest_end(nlh, nest);
		change->past[i] = nlh->nlmsg_len;
	}
}

/* What a failed request was about is what the kernel blames of it. */
static int request_failed(struct change *change, uint32_t begin, int err)
{
	uint32_t offset = change->ctl.ch.bad_offset;
	char what[CTL_TEXT_CHARS + 32], handle[CTL_TEXT_CHARS];
	size_t i;

	for (i = 0; i < change->n_settings; i++) {
		if (offset >= change->settings[i].begin && offset < change->settings[i].past)
			return ctl_request_failed(&change->ctl, change->settings[i].text, err);
	}
	for (i = 0; i < change->n_handles && change->past[i] <= offset; i++)
		;
	if (offset < begin || i == change->n_handles)
		snprintf(what, sizeof(what), "session %u", change->session);
	else
		snprintf(what, sizeof(what), "session %u: %s", change->session,
			 ctl_handle_text(change->handles[i], handle));
	return ctl_request_failed(&change->ctl, what, err);
}

static int send_change(struct change *change, uint8_t cmd)
{
	struct nlmsghdr *nlh;
	uint32_t begin;
	int err, status = CTL_DONE;

	if (ctl_open(&change->ctl))
		return CTL_FAILED;
	nlh = ctl_session_request(&change->ctl, cmd, NLM_F_ACK, change->session);
	begin = nlh->nlmsg_len;
	if (cmd == SOCKBEAT_CMD_SESSION_SET)
		put_settings(nlh, change);
	else
		put_peers(nlh, change, cmd);
	err = channel_request(&change->ctl.ch, nlh, NULL, NULL);
	if (err)
		status = request_failed(change, begin, err);
	ctl_close(&change->ctl);
	return status;
}

int ctl_set(int argc, char **argv)
{
	static struct change change;

	ctl_parse(&set_argp, argc, argv, &change);
	return send_change(&change, change.n_handles ? SOCKBEAT_CMD_PEER_SET : SOCKBEAT_CMD_SESSION_SET);
}

/* Peers that are ended. */

static const struct argp_option recycle_options[] = {
	{ "delay", 'd', "MS", 0, "How long the slots rest (the session's recycle_delay_ms)", 0 },
	{ "end", CTL_OPTION_END, "HOW", 0, "What is done to the sockets: none, shutdown or abort (none)", 0 },
	{ 0 },
};

static error_t parse_handles(int key, char *arg, struct argp_state *state)
{
	struct change *change = state->input;
	uint64_t delay_ms;
	int end;

	switch (key) {
	case 'd':
		if (!ctl_number(arg, SOCKBEAT_MAX_DELAY_MS, &delay_ms))
			argp_error(state, "--delay: \"%s\" is not a number in the range 0..%d", arg,
				   SOCKBEAT_MAX_DELAY_MS);
		change->has_delay = true;
		change->delay_ms = delay_ms;
		break;
	case CTL_OPTION_END:
		end = ctl_name_value(ctl_end_names, arg);
		if (end < 0)
			argp_error(state, "--end: \"%s\" is not one of: none, shutdown, abort", arg);
		change->end = end;
		break;
	case ARGP_KEY_ARG:
		if (!change->has_session)
			take_session(state, change, arg);
		else
			take_handle(state, change, arg);
		break;
	case ARGP_KEY_END:
		if (!change->has_session)
			argp_error(state, "a session is missing");
		if (!change->n_handles)
			argp_error(state, "a handle is missing");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp recycle_argp = {
	.options = recycle_options,
	.parser = parse_handles,
	.args_doc = "SESSION HANDLE...",
	.doc = "Stop tracking peers and put their slots into quarantine, all or none. The slots are held: "
	       "the session's owner is told when the quarantine is over, and gives them back.",
};

static const struct argp abort_argp = {
	.parser = parse_handles,
	.args_doc = "SESSION HANDLE...",
	.doc = "Reset peers' connections, all or none. They stay tracked: the session's owner reads "
	       "ECONNABORTED from the sockets, and is told that the peers are gone.",
};

int ctl_recycle(int argc, char **argv)
{
	static struct change change;

	ctl_parse(&recycle_argp, argc, argv, &change);
	return send_change(&change, SOCKBEAT_CMD_PEER_RECYCLE);
}

int ctl_abort(int argc, char **argv)
{
	static struct change change = { .end = SOCKBEAT_END_ABORT };

	ctl_parse(&abort_argp, argc, argv, &change);
	return send_change(&change, SOCKBEAT_CMD_PEER_END);
}
