// SPDX-License-Identifier: BSD-3-Clause
/*
 * sockbeatctl: what attributes are called, and how they are written. Names and
 * values are those of uapi/sockbeat.yaml, with _ for -.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"

const char *const ctl_state_names[] = { "live", "silent", "gone", "recycling", NULL };
const char *const ctl_end_names[] = { "none", "shutdown", "abort", NULL };

static const char *const source_names[] = { "activity", "beat", "either", NULL };
static const char *const trigger_names[] = { "level", "edge", NULL };
static const char *const action_names[] = { "notify", "shutdown", "abort", NULL };
static const char *const kind_names[] = {
	"silent", "heard", "gone", "recycled", "suspect", "guard", "guard_over", NULL,
};
static const char *const family_names[] = {
	[AF_UNSPEC] = "", "", [AF_INET] = "inet", "", "", "", "", "", "", "", [AF_INET6] = "inet6",
	NULL,
};
static const char *const tcp_names[] = {
	"", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE",
	"CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV", NULL,
};

#define SET	true

#define F(name, type, ...)	{ name, SOCKBEAT_A_PEER_##type, __VA_ARGS__ }

const struct ctl_field ctl_peer_fields[] = {
	F("handle", HANDLE, CTL_HANDLE, 0, NULL),
	F("state", STATE, CTL_NAME, 0, ctl_state_names),
	F("suspect", SUSPECT, CTL_FLAG, 0, NULL),
	F("idle_ms", IDLE_MS, CTL_NUMBER, 0, NULL),
	F("limit_ms", LIMIT_MS, CTL_NUMBER, 0, NULL),
	F("left_ms", LEFT_MS, CTL_NUMBER, 0, NULL),
	F("hold", HOLD, CTL_FLAG, 0, NULL),
	F("tcp_state", TCP_STATE, CTL_NAME, 0, tcp_names),
	F("family", FAMILY, CTL_NAME, 0, family_names),
	F("local_addr", LOCAL_ADDR, CTL_ADDR, 0, NULL),
	F("local_port", LOCAL_PORT, CTL_NUMBER, 0, NULL),
	F("remote_addr", REMOTE_ADDR, CTL_ADDR, 0, NULL),
	F("remote_port", REMOTE_PORT, CTL_NUMBER, 0, NULL),
	F("cookie", COOKIE, CTL_NUMBER, 0, NULL),
	F("user_data", USER_DATA, CTL_HEX, 0, NULL),
	F("timeout_ms", TIMEOUT_MS, CTL_NUMBER, SET, NULL),
	F("renotify_ms", RENOTIFY_MS, CTL_NUMBER, SET, NULL),
	F("source", SOURCE, CTL_NAME, SET, source_names),
	F("trigger", TRIGGER, CTL_NAME, SET, trigger_names),
	F("action", ACTION, CTL_NAME, SET, action_names),
	F("act_after_ms", ACT_AFTER_MS, CTL_NUMBER, SET, NULL),
	F("suspect_percent", SUSPECT_PERCENT, CTL_NUMBER, SET, NULL),
	F("adaptive_beats", ADAPTIVE_BEATS, CTL_NUMBER, SET, NULL),
	F("interval_ms", INTERVAL_MS, CTL_NUMBER, 0, NULL),
	F("deviation_ms", DEVIATION_MS, CTL_NUMBER, 0, NULL),
	F("profile", PROFILE, CTL_NUMBER, 0, NULL),
	F("probe_after_ms", PROBE_AFTER_MS, CTL_NUMBER, SET, NULL),
	F("rx_behind", RX_BEHIND, CTL_SIGNED, 0, NULL),
	F("tx_behind", TX_BEHIND, CTL_SIGNED, 0, NULL),
	{ NULL, 0, CTL_NUMBER, 0, NULL },
};

#undef F
#define F(name, type, ...)	{ name, SOCKBEAT_A_SESSION_##type, __VA_ARGS__ }

/* The id is called session wherever it is shown. */
const struct ctl_field ctl_session_fields[] = {
	F("pid", PID, CTL_NUMBER, 0, NULL),
	F("uid", UID, CTL_NUMBER, 0, NULL),
	F("capacity", CAPACITY, CTL_NUMBER, 0, NULL),
	F("guarding", GUARDING, CTL_BOOL, 0, NULL),
	F("tick_ms", TICK_MS, CTL_NUMBER, 0, NULL),
	F("port", PORT, CTL_NUMBER, 0, NULL),
	F("clock_ms", CLOCK_MS, CTL_NUMBER, 0, NULL),
	F("timeout_ms", TIMEOUT_MS, CTL_NUMBER, SET, NULL),
	F("renotify_ms", RENOTIFY_MS, CTL_NUMBER, SET, NULL),
	F("source", SOURCE, CTL_NAME, SET, source_names),
	F("trigger", TRIGGER, CTL_NAME, SET, trigger_names),
	F("recycle_delay_ms", RECYCLE_DELAY_MS, CTL_NUMBER, SET, NULL),
	F("action", ACTION, CTL_NAME, SET, action_names),
	F("act_after_ms", ACT_AFTER_MS, CTL_NUMBER, SET, NULL),
	F("suspect_percent", SUSPECT_PERCENT, CTL_NUMBER, SET, NULL),
	F("adaptive_beats", ADAPTIVE_BEATS, CTL_NUMBER, SET, NULL),
	F("adaptive_min_ms", ADAPTIVE_MIN_MS, CTL_NUMBER, SET, NULL),
	F("guard_percent", GUARD_PERCENT, CTL_NUMBER, SET, NULL),
	F("guard_window_ms", GUARD_WINDOW_MS, CTL_NUMBER, SET, NULL),
	{ NULL, 0, CTL_NUMBER, 0, NULL },
};

#undef F
#define F(name, type)	{ name, SOCKBEAT_A_STATS_##type, CTL_NUMBER, 0, NULL }

const struct ctl_field ctl_stats_fields[] = {
	F("live", LIVE), F("silent", SILENT), F("gone", GONE), F("recycling", RECYCLING),
	F("added", ADDED), F("deleted", DELETED), F("silences", SILENCES),
	F("recoveries", RECOVERIES), F("suspects", SUSPECTS), F("sockets_gone", SOCKETS_GONE),
	F("recycles", RECYCLES), F("recycled", RECYCLED), F("events", EVENTS),
	F("messages", MESSAGES), F("deferrals", DEFERRALS), F("bad_stamps", BAD_STAMPS),
	F("shutdowns", SHUTDOWNS), F("aborts", ABORTS), F("acts_deferred", ACTS_DEFERRED),
	F("acts_guarded", ACTS_GUARDED), F("guards", GUARDS), F("ticks", TICKS),
	F("tick_ns", TICK_NS), F("checks", CHECKS), F("postponed", POSTPONED),
	F("answered", ANSWERED), F("pass_data", PASS_DATA), F("pass_partial", PASS_PARTIAL),
	F("pass_position", PASS_POSITION), F("pass_queue", PASS_QUEUE),
	F("pass_owned", PASS_OWNED), F("pass_memory", PASS_MEMORY), F("pass_rate", PASS_RATE),
	F("pass_state", PASS_STATE), F("pass_foreign", PASS_FOREIGN), F("probes", PROBES),
	F("probes_answered", PROBES_ANSWERED), F("probes_skipped", PROBES_SKIPPED),
	{ NULL, 0, CTL_NUMBER, 0, NULL },
};

#undef F
#define F(name, type, ...)	{ name, SOCKBEAT_A_EVENT_##type, __VA_ARGS__ }

/* The first two have columns of their own in text. */
const struct ctl_field ctl_event_fields[] = {
	F("event", KIND, CTL_NAME, 0, kind_names),
	F("handle", HANDLE, CTL_HANDLE, 0, NULL),
	F("idle_ms", IDLE_MS, CTL_NUMBER, 0, NULL),
	F("late_ms", LATE_MS, CTL_NUMBER, 0, NULL),
	F("tcp_state", TCP_STATE, CTL_NAME, 0, tcp_names),
	F("action", ACTION, CTL_NAME, 0, action_names),
	F("peers", PEERS, CTL_NUMBER, 0, NULL),
	F("user_data", USER_DATA, CTL_HEX, 0, NULL),
	{ NULL, 0, CTL_NUMBER, 0, NULL },
};

#undef F

/**
 * ctl_handle_text - write a handle as ctl_handle() reads it
 * @handle: the handle
 * @text: written
 *
 * Return: @text.
 */
const char *ctl_handle_text(uint64_t handle, char text[CTL_TEXT_CHARS])
{
	snprintf(text, CTL_TEXT_CHARS, "%x:%x", (unsigned int)(handle >> 32),
		 (unsigned int)handle);
	return text;
}

/**
 * ctl_name_value - the value that a name stands for
 * @names: by value, ending with NULL
 * @text: the name
 *
 * Return: the value, or -1.
 */
int ctl_name_value(const char *const *names, const char *text)
{
	for (int i = 0; *text && names[i]; i++) {
		if (!strcmp(names[i], text))
			return i;
	}
	return -1;
}

/* A module that is newer than this program may have more values. */
static const char *value_name(const char *const *names, uint64_t value, char text[CTL_TEXT_CHARS])
{
	for (uint64_t i = 0; names[i]; i++) {
		if (i == value && *names[i])
			return names[i];
	}
	snprintf(text, CTL_TEXT_CHARS, "%llu", (unsigned long long)value);
	return text;
}

static const char *addr_text(const struct nlattr *attr, char text[CTL_TEXT_CHARS])
{
	size_t len = mnl_attr_get_payload_len(attr);

	if ((len != 4 && len != 16) ||
	    !inet_ntop(len == 4 ? AF_INET : AF_INET6, mnl_attr_get_payload(attr), text,
		       CTL_TEXT_CHARS))
		return "-";
	return text;
}

/**
 * ctl_field_given - whether there is anything to show
 * @field: which
 * @attrs: what was sent
 *
 * Return: whether there is.
 */
bool ctl_field_given(const struct ctl_field *field, const struct ctl_attrs *attrs)
{
	return attrs->tb[field->type] || field->kind == CTL_FLAG;
}

/**
 * ctl_field_text - an attribute as text
 * @field: which
 * @attrs: those that were sent
 * @text: room for it
 *
 * Return: the text, in @text or constant; "-" for what was not sent.
 */
const char *ctl_field_text(const struct ctl_field *field, const struct ctl_attrs *attrs,
			   char text[CTL_TEXT_CHARS])
{
	uint64_t value = ctl_attrs_number(attrs, field->type);

	if (!ctl_field_given(field, attrs))
		return "-";
	switch (field->kind) {
	case CTL_FLAG:
		return attrs->tb[field->type] ? "yes" : "no";
	case CTL_BOOL:
		return value ? "yes" : "no";
	case CTL_NAME:
		return value_name(field->names, value, text);
	case CTL_HANDLE:
		return ctl_handle_text(value, text);
	case CTL_ADDR:
		return addr_text(attrs->tb[field->type], text);
	case CTL_HEX:
		snprintf(text, CTL_TEXT_CHARS, "0x%llx", (unsigned long long)value);
		return text;
	case CTL_SIGNED:
		snprintf(text, CTL_TEXT_CHARS, "%d", (int32_t)value);
		return text;
	case CTL_NUMBER:
		break;
	}
	snprintf(text, CTL_TEXT_CHARS, "%llu", (unsigned long long)value);
	return text;
}

static json_t *field_json(const struct ctl_field *field, const struct ctl_attrs *attrs)
{
	uint64_t value = ctl_attrs_number(attrs, field->type);
	char text[CTL_TEXT_CHARS];

	switch (field->kind) {
	case CTL_FLAG:
		return json_boolean(attrs->tb[field->type]);
	case CTL_BOOL:
		return json_boolean(value);
	case CTL_NUMBER:
		return json_integer((json_int_t)value);
	case CTL_SIGNED:
		return json_integer((int32_t)value);
	default:
		return json_string(ctl_field_text(field, attrs, text));
	}
}

/**
 * ctl_fields_json - add attributes to an object
 * @object: the object
 * @fields: which
 * @attrs: those that were sent; others are left out
 */
void ctl_fields_json(json_t *object, const struct ctl_field *fields, const struct ctl_attrs *attrs)
{
	for (; fields->name; fields++) {
		if (ctl_field_given(fields, attrs))
			json_object_set_new(object, fields->name, field_json(fields, attrs));
	}
}

/**
 * ctl_print_json - print a value and a newline
 * @value: the value, whose reference is taken over
 *
 * Return: CTL_DONE or CTL_FAILED, which was said.
 */
int ctl_print_json(json_t *value)
{
	int err = json_dumpf(value, stdout, JSON_COMPACT);

	json_decref(value);
	putchar('\n');
	return err ? ctl_fail("JSON could not be written") : CTL_DONE;
}

/**
 * ctl_print_element - print an element of an array, on a line of its own
 * @value: the element, whose reference is taken over
 * @first: whether it is the first
 */
void ctl_print_element(json_t *value, bool first)
{
	fputs(first ? "\n" : ",\n", stdout);
	json_dumpf(value, stdout, JSON_COMPACT);
	json_decref(value);
}
