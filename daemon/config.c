// SPDX-License-Identifier: BSD-3-Clause
#include <arpa/inet.h>
#include <confuse.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "config.h"
#include "libsockbeat.h"
#include "log.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

#define STATS_PATH_MAX	(sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)

#define DEFAULT_LISTEN	"0.0.0.0:7700"

static const char *const source_words[] = { "activity", "beat", "either", NULL };
static const char *const trigger_words[] = { "level", "edge", NULL };
static const char *const engine_words[] = { "auto", "kernel", "builtin", NULL };
static const char *const epoll_words[] = { "level", "edge", NULL };
static const char *const offload_words[] = { "off", "on", NULL };
static const char *const profile_words[] = {
	"native", "resp", "mqtt", "websocket", "http2", NULL
};
static const char *const when_full_words[] = { "close", "wait", NULL };
#define when_work_full_words when_full_words
static const char *const log_level_words[] = { "error", "warning", "info", "debug", NULL };

/*
 * A key is a list of addresses, a number in min..max, one of some words
 * (stored as its position), or a string.
 */
struct key {
	const char *name;
	enum { KEY_LISTEN, KEY_NUMBER, KEY_WORD, KEY_STRING } type;
	size_t offset;
	const char *const *words;
	long min, max;
	long def;
};

#define NUMBER(key, min, max, def) \
	{ #key, KEY_NUMBER, offsetof(struct config, key), NULL, min, max, def }
#define WORD(key, def) \
	{ #key, KEY_WORD, offsetof(struct config, key), key##_words, 0, 0, def }
#define STRING(key) \
	{ #key, KEY_STRING, offsetof(struct config, key), NULL, 0, 0, 0 }

static const struct key keys[] = {
	{ "listen", KEY_LISTEN, offsetof(struct config, listen), NULL, 0, 0, 0 },
	NUMBER(reactors, 1, 64, 1),
	NUMBER(max_connections, 1, SOCKBEAT_MAX_CAPACITY, 65536),
	NUMBER(max_connections_per_address, 0, SOCKBEAT_MAX_CAPACITY, 0),
	NUMBER(pool_slots, 1, SOCKBEAT_MAX_CAPACITY, 131072),
	WORD(when_full, CONFIG_FULL_CLOSE),
	NUMBER(recycle_delay_ms, 0, SOCKBEAT_MAX_DELAY_MS, 60000),
	NUMBER(timeout_ms, SOCKBEAT_MIN_TIMEOUT_MS, SOCKBEAT_MAX_TIMEOUT_MS, 60000),
	NUMBER(renotify_ms, SOCKBEAT_MIN_TIMEOUT_MS, SOCKBEAT_MAX_TIMEOUT_MS, 5000),
	WORD(source, SOCKBEAT_SOURCE_ACTIVITY),
	WORD(trigger, SOCKBEAT_TRIGGER_LEVEL),
	WORD(engine, SOCKBEAT_ENGINE_AUTO),
	WORD(epoll, CONFIG_EPOLL_EDGE),
	WORD(offload, CONFIG_OFFLOAD_ON),
	WORD(profile, 0),
	NUMBER(min_heartbeat_interval_ms, 0, SOCKBEAT_MAX_TIMEOUT_MS, 1000),
	NUMBER(probe_after_ms, 0, SOCKBEAT_MAX_TIMEOUT_MS, 0),
	NUMBER(act_after_ms, 0, SOCKBEAT_MAX_TIMEOUT_MS, 5000),
	NUMBER(suspect_percent, 0, SOCKBEAT_MAX_SUSPECT_PERCENT, 0),
	NUMBER(adaptive_beats, 0, SOCKBEAT_MAX_ADAPTIVE_BEATS, 0),
	NUMBER(adaptive_min_ms, SOCKBEAT_MIN_TIMEOUT_MS, SOCKBEAT_MAX_TIMEOUT_MS, 10000),
	NUMBER(guard_percent, 0, SOCKBEAT_MAX_PERCENT, 0),
	NUMBER(guard_window_ms, SOCKBEAT_MIN_TIMEOUT_MS, SOCKBEAT_MAX_TIMEOUT_MS, 10000),
	NUMBER(max_frame_bytes, 8, 65535, 65535),
	NUMBER(frame_timeout_ms, 0, SOCKBEAT_MAX_TIMEOUT_MS, 60000),
	NUMBER(max_frames_per_s, 0, 1000000, 100),
	NUMBER(max_queue_bytes, 4096, 1 << 30, 1 << 18),
	NUMBER(workers, 1, 1024, 4),
	NUMBER(work_queue, 1, 1000000, 10000),
	NUMBER(max_client_jobs, 1, 1000000, 16),
	WORD(when_work_full, CONFIG_FULL_CLOSE),
	NUMBER(accept_batch, 1, 1024, 64),
	NUMBER(drain_timeout_ms, 0, 600000, 5000),
	WORD(log_level, LOG_LEVEL_INFO),
	STRING(log_file),
	STRING(stats_socket),
};

/* libconfuse's error callback has no argument of its own for this. */
static char *error_text;

static void collect_error(cfg_t *cfg, const char *fmt, va_list ap)
{
	int len = 0;

	if (*error_text)
		return;	/* the first one is the cause */
	if (cfg && cfg->filename)
		len = snprintf(error_text, CONFIG_ERROR_BYTES, "%s:%d: ",
			       cfg->filename, cfg->line);
	if (len >= 0 && len < CONFIG_ERROR_BYTES)
		vsnprintf(error_text + len, CONFIG_ERROR_BYTES - len, fmt, ap);
}

static const struct key *find_key(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (!strcmp(keys[i].name, name))
			return &keys[i];
	}
	return NULL;
}

/* One of our own keys, so there is such a key. */
static const struct key *known_key(const char *name)
{
	const struct key *key = find_key(name);

	if (!key)
		abort();
	return key;
}

static int parse_number(cfg_t *cfg, const struct key *key, const char *text, long *result)
{
	char *end;

	errno = 0;
	*result = strtol(text, &end, 10);
	if (end == text || *end) {
		cfg_error(cfg, "%s: \"%s\" is not a number in the range %ld..%ld",
			  key->name, text, key->min, key->max);
		return -1;
	}
	if (errno || *result < key->min || *result > key->max) {
		cfg_error(cfg, "%s: %s is outside the range %ld..%ld",
			  key->name, text, key->min, key->max);
		return -1;
	}
	return 0;
}

static int parse_word(cfg_t *cfg, const struct key *key, const char *text, long *result)
{
	char all[128] = "";

	for (size_t i = 0; key->words[i]; i++) {
		if (!strcmp(key->words[i], text)) {
			*result = i;
			return 0;
		}
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s",
			 i ? ", " : "", key->words[i]);
	}
	cfg_error(cfg, "%s: \"%s\" is not one of: %s", key->name, text, all);
	return -1;
}

static int parse_value(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *result)
{
	const struct key *key = known_key(opt->name);

	if (key->type == KEY_NUMBER)
		return parse_number(cfg, key, text, result);
	return parse_word(cfg, key, text, result);
}

static void make_options(cfg_opt_t *opts)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const struct key *key = &keys[i];

		switch (key->type) {
		case KEY_LISTEN:
			opts[i] = (cfg_opt_t)CFG_STR_LIST(key->name, "{" DEFAULT_LISTEN "}",
							  CFGF_NONE);
			break;
		case KEY_STRING:
			opts[i] = (cfg_opt_t)CFG_STR(key->name, "", CFGF_NONE);
			break;
		default:
			opts[i] = (cfg_opt_t)CFG_INT_CB(key->name, key->def, CFGF_NONE,
							parse_value);
		}
	}
	opts[ARRAY_SIZE(keys)] = (cfg_opt_t)CFG_END();
}

/* KEY=VALUE, or KEY=VALUE,VALUE for a list: the values in place of the file's. */
static int apply_set(cfg_t *cfg, const char *set)
{
	const char *equals = strchr(set, '=');
	char *name, *value, *part, *rest;
	const struct key *key = NULL;
	cfg_opt_t *opt;
	int ret = -1;

	name = equals ? strndup(set, equals - set) : NULL;
	value = equals ? strdup(equals + 1) : NULL;
	if (name && value)
		key = find_key(name);
	if (!key) {
		cfg_error(cfg, equals ? "no such key" : "expected KEY=VALUE");
		goto out;
	}

	opt = cfg_getopt(cfg, name);
	opt->flags |= CFGF_RESET;
	rest = value;
	do {
		part = key->type == KEY_LISTEN ? strsep(&rest, ",") : rest;
		if (!cfg_setopt(cfg, opt, part))
			goto out;
	} while (key->type == KEY_LISTEN && rest);
	ret = 0;
out:
	free(name);
	free(value);
	return ret;
}

static int store_listen(struct config *config, cfg_t *cfg)
{
	unsigned int n = cfg_size(cfg, "listen");

	if (n < 1 || n > CONFIG_MAX_LISTEN) {
		snprintf(error_text, CONFIG_ERROR_BYTES,
			 "listen: %u addresses are outside the range 1..%d", n, CONFIG_MAX_LISTEN);
		return -EINVAL;
	}
	for (unsigned int i = 0; i < n; i++) {
		const char *text = cfg_getnstr(cfg, "listen", i);

		if (address_parse(&config->listen[i], text)) {
			snprintf(error_text, CONFIG_ERROR_BYTES,
				 "listen: \"%s\" is not IPV4:PORT or [IPV6]:PORT with a port in the range 0..65535",
				 text);
			return -EINVAL;
		}
	}
	config->n_listen = n;
	return 0;
}

static int store(struct config *config, cfg_t *cfg)
{
	int err = store_listen(config, cfg);

	if (err)
		return err;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		void *member = (char *)config + keys[i].offset;

		if (keys[i].type == KEY_NUMBER || keys[i].type == KEY_WORD)
			*(uint32_t *)member = cfg_getint(cfg, keys[i].name);
	}
	config->log_file = strdup(cfg_getstr(cfg, "log_file"));
	config->stats_socket = strdup(cfg_getstr(cfg, "stats_socket"));
	return config->log_file && config->stats_socket ? 0 : -ENOMEM;
}

/* Values that are right each for itself and not together, or on no system. */
static int check(const struct config *config, char error[CONFIG_ERROR_BYTES])
{
	const char *profile = config_word("profile", config->profile);

	if (config->guard_percent && config->source == SOCKBEAT_SOURCE_BEAT)
		snprintf(error, CONFIG_ERROR_BYTES,
			 "guard_percent: %u, but with source beat nobody but this process ends silent clients",
			 config->guard_percent);
	else if (config->probe_after_ms && !sockbeat_profile_named(profile)->probe)
		snprintf(error, CONFIG_ERROR_BYTES, "probe_after_ms: %u, but profile %s has no probe",
			 config->probe_after_ms, profile);
	else if (strlen(config->stats_socket) > STATS_PATH_MAX)
		snprintf(error, CONFIG_ERROR_BYTES, "stats_socket: %zu bytes are not in the range 0..%zu",
			 strlen(config->stats_socket), STATS_PATH_MAX);
	else
		return 0;
	return -EINVAL;
}

/*
 * A quote or comment without an end swallows the rest of a file, and of one that
 * stands in place of a key the parser says nothing.  Until cfg_free() it swallows
 * whatever it is given next, too.
 */
static bool is_swallowing(void)
{
	cfg_opt_t opts[] = { CFG_BOOL("seen", cfg_false, CFGF_NONE), CFG_END() };
	cfg_t *cfg = cfg_init(opts, CFGF_NONE);
	bool seen;

	if (!cfg)
		return false;
	cfg_parse_buf(cfg, "seen = true\n");
	seen = cfg_getbool(cfg, "seen");
	cfg_free(cfg);
	return !seen;
}

static int parse_file(cfg_t *cfg, const char *file)
{
	struct stat st;
	int err;

	/* The parser ends the program when it cannot read what it opened. */
	if (!stat(file, &st) && !S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode)) {
		snprintf(error_text, CONFIG_ERROR_BYTES, "%s: not a file that can be read", file);
		return -EISDIR;
	}
	switch (cfg_parse(cfg, file)) {
	case CFG_SUCCESS:
		if (!is_swallowing())
			return 0;
		snprintf(error_text, CONFIG_ERROR_BYTES, "%s: a quote or comment has no end", file);
		return -EINVAL;
	case CFG_FILE_ERROR:
		err = errno ? -errno : -EIO;
		snprintf(error_text, CONFIG_ERROR_BYTES, "%s: %s", file, strerror(-err));
		return err;
	default:
		/* Of a key that is empty the parser says nothing. */
		if (!*error_text)
			snprintf(error_text, CONFIG_ERROR_BYTES, "%s:%d: expected KEY = VALUE",
				 file, cfg->line);
		return -EINVAL;
	}
}

/**
 * config_load - settings from defaults, a file and the command line
 * @config: filled in; to be freed by config_free() in any case
 * @file: the file, or NULL
 * @sets: KEY=VALUE texts, each stronger than the file
 * @n_sets: number of @sets
 * @error: what is wrong, for an error
 *
 * Not for use by several threads at once.
 *
 * Return: 0 or a negative errno.
 */
int config_load(struct config *config, const char *file, char *const *sets,
		size_t n_sets, char error[CONFIG_ERROR_BYTES])
{
	cfg_opt_t opts[ARRAY_SIZE(keys) + 1];
	int err = 0;
	cfg_t *cfg;

	memset(config, 0, sizeof(*config));
	*error = '\0';
	error_text = error;
	make_options(opts);
	cfg = cfg_init(opts, CFGF_NONE);
	if (!cfg) {
		snprintf(error, CONFIG_ERROR_BYTES, "out of memory");
		return -ENOMEM;
	}
	cfg_set_error_function(cfg, collect_error);

	if (file)
		err = parse_file(cfg, file);
	for (size_t i = 0; !err && i < n_sets; i++) {
		free(cfg->filename);
		cfg->filename = NULL;	/* errors are no longer the file's */
		err = apply_set(cfg, sets[i]) ? -EINVAL : 0;
		if (err) {
			char cause[CONFIG_ERROR_BYTES];

			memcpy(cause, error, sizeof(cause));
			snprintf(error, CONFIG_ERROR_BYTES, "--set %.*s: %.*s",
				 128, sets[i], CONFIG_ERROR_BYTES - 160, cause);
		}
	}
	if (!err)
		err = store(config, cfg);
	cfg_free(cfg);
	if (!err)
		err = check(config, error);
	return err;
}

static void dump_string(const char *text, FILE *out)
{
	fputc('"', out);
	for (; *text; text++) {
		/* ${NAME} is what the environment has for it. */
		if (*text == '"' || *text == '\\' || *text == '$')
			fputc('\\', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

/**
 * config_dump - write settings as a file that config_load() reads
 * @config: the settings
 * @out: where to
 */
void config_dump(const struct config *config, FILE *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const void *member = (const char *)config + keys[i].offset;
		char text[ADDRESS_CHARS];

		fprintf(out, "%s = ", keys[i].name);
		switch (keys[i].type) {
		case KEY_LISTEN:
			for (uint32_t n = 0; n < config->n_listen; n++)
				fprintf(out, "%s\"%s\"", n ? ", " : "{",
					address_format(&config->listen[n], text));
			fputc('}', out);
			break;
		case KEY_NUMBER:
			fprintf(out, "%u", *(const uint32_t *)member);
			break;
		case KEY_WORD:
			fputs(keys[i].words[*(const uint32_t *)member], out);
			break;
		case KEY_STRING:
			dump_string(*(char *const *)member, out);
		}
		fputc('\n', out);
	}
}

/**
 * config_word - the word for a value of a key that takes words
 * @key: the key's name
 * @value: what config_load() stored for it
 *
 * Return: the word.
 */
const char *config_word(const char *key, uint32_t value)
{
	return known_key(key)->words[value];
}

/**
 * config_free - release what config_load() allocated
 * @config: the settings
 */
void config_free(struct config *config)
{
	free(config->log_file);
	free(config->stats_socket);
	config->log_file = NULL;
	config->stats_socket = NULL;
}
