// SPDX-License-Identifier: GPL-2.0-only
/*
 * sockbeatd's settings: every key's default, bounds and the text for a wrong
 * value; the file, --set, and that a dump can be read again.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "config.h"
#include "libsockbeat.h"
#include "log.h"
#include "harness.h"

FIXTURE(settings) {
	struct config config;
	char error[CONFIG_ERROR_BYTES];
	char path[32];
};

FIXTURE_SETUP(settings)
{
	strcpy(self->path, "/tmp/unit_config.XXXXXX");
	ASSERT_LE(0, mkstemp(self->path));
}

FIXTURE_TEARDOWN(settings)
{
	config_free(&self->config);
	unlink(self->path);
}

static int load_sets(FIXTURE_DATA(settings) *self, char **sets, size_t n)
{
	config_free(&self->config);
	return config_load(&self->config, NULL, sets, n, self->error);
}

static int load_set(FIXTURE_DATA(settings) *self, const char *set)
{
	char *copy = strdup(set);
	int ret = load_sets(self, &copy, 1);

	free(copy);
	return ret;
}

static int load_file(FIXTURE_DATA(settings) *self, const char *text)
{
	FILE *file = fopen(self->path, "w");

	fputs(text, file);
	fclose(file);
	config_free(&self->config);
	return config_load(&self->config, self->path, NULL, 0, self->error);
}

static const char *first_missing(const char *error, const char *const *parts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!strstr(error, parts[i]))
			return parts[i];
	}
	return NULL;
}

/* The error has to name the key, the value and the range or the words. */
#define EXPECT_ERROR(...) do {						\
	const char *const parts[] = { __VA_ARGS__ };			\
	const char *missing = first_missing(self->error, parts, ARRAY_SIZE(parts)); \
									\
	EXPECT_EQ(NULL, missing) {					\
		TH_LOG("\"%s\" lacks \"%s\"", self->error, missing);	\
	}								\
} while (0)

TEST_F(settings, defaults)
{
	struct config *config = &self->config;
	char text[ADDRESS_CHARS];

	ASSERT_EQ(0, load_sets(self, NULL, 0));
	EXPECT_EQ(1, config->n_listen);
	EXPECT_STREQ("0.0.0.0:7700", address_format(&config->listen[0], text));
	EXPECT_EQ(1, config->reactors);
	EXPECT_EQ(65536, config->max_connections);
	EXPECT_EQ(0, config->max_connections_per_address);
	EXPECT_EQ(131072, config->pool_slots);
	EXPECT_EQ(CONFIG_FULL_CLOSE, config->when_full);
	EXPECT_EQ(60000, config->recycle_delay_ms);
	EXPECT_EQ(4, config->workers);
	EXPECT_EQ(10000, config->work_queue);
	EXPECT_EQ(16, config->max_client_jobs);
	EXPECT_EQ(CONFIG_FULL_CLOSE, config->when_work_full);
	EXPECT_EQ(60000, config->timeout_ms);
	EXPECT_EQ(5000, config->renotify_ms);
	EXPECT_EQ(SOCKBEAT_SOURCE_ACTIVITY, config->source);
	EXPECT_EQ(SOCKBEAT_TRIGGER_LEVEL, config->trigger);
	EXPECT_EQ(SOCKBEAT_ENGINE_AUTO, config->engine);
	EXPECT_EQ(CONFIG_EPOLL_EDGE, config->epoll);
	EXPECT_EQ(65535, config->max_frame_bytes);
	EXPECT_EQ(60000, config->frame_timeout_ms);
	EXPECT_EQ(100, config->max_frames_per_s);
	EXPECT_EQ(262144, config->max_queue_bytes);
	EXPECT_EQ(64, config->accept_batch);
	EXPECT_EQ(5000, config->drain_timeout_ms);
	EXPECT_EQ(LOG_LEVEL_INFO, config->log_level);
	EXPECT_STREQ("", config->log_file);
	EXPECT_STREQ("", config->stats_socket);
}

TEST_F(settings, numbers)
{
	static const struct {
		const char *key;
		size_t offset;
		long min, max;
	} keys[] = {
#define KEY(key, min, max) { #key, offsetof(struct config, key), min, max }
		KEY(reactors, 1, 64),
		KEY(max_connections, 1, 16777216),
		KEY(max_connections_per_address, 0, 16777216),
		KEY(pool_slots, 1, 16777216),
		KEY(recycle_delay_ms, 0, 604800000),
		KEY(workers, 1, 1024),
		KEY(work_queue, 1, 1000000),
		KEY(max_client_jobs, 1, 1000000),
		KEY(timeout_ms, 100, 604800000),
		KEY(renotify_ms, 100, 604800000),
		KEY(max_frame_bytes, 8, 65535),
		KEY(frame_timeout_ms, 0, 604800000),
		KEY(max_frames_per_s, 0, 1000000),
		KEY(max_queue_bytes, 4096, 1073741824),
		KEY(accept_batch, 1, 1024),
		KEY(drain_timeout_ms, 0, 600000),
#undef KEY
	};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const uint32_t *member = (void *)((char *)&self->config + keys[i].offset);
		const long good[] = { keys[i].min, keys[i].max };
		const long bad[] = { keys[i].min - 1, keys[i].max + 1 };
		static const char *const nonsense[] = { "", "x", "12x", "1.5", "0x10",
							"99999999999999999999" };
		char set[128], range[64], value[32];

		snprintf(range, sizeof(range), "the range %ld..%ld", keys[i].min, keys[i].max);
		for (int n = 0; n < 2; n++) {
			snprintf(set, sizeof(set), "%s=%ld", keys[i].key, good[n]);
			ASSERT_EQ(0, load_set(self, set)) {
				TH_LOG("%s", self->error);
			}
			EXPECT_EQ(good[n], *member);

			snprintf(set, sizeof(set), "%s=%ld", keys[i].key, bad[n]);
			snprintf(value, sizeof(value), "%ld", bad[n]);
			ASSERT_EQ(-EINVAL, load_set(self, set));
			EXPECT_ERROR(keys[i].key, value, range);
		}
		for (size_t n = 0; n < ARRAY_SIZE(nonsense); n++) {
			snprintf(set, sizeof(set), "%s=%s", keys[i].key, nonsense[n]);
			ASSERT_EQ(-EINVAL, load_set(self, set));
			EXPECT_ERROR(keys[i].key, nonsense[n], range);
		}
	}
}

TEST_F(settings, words)
{
	static const struct {
		const char *key;
		size_t offset;
		const char *words[5];
		const char *all;
	} keys[] = {
#define KEY(key, all, ...) { #key, offsetof(struct config, key), { __VA_ARGS__ }, all }
		KEY(source, "activity, beat, either", "activity", "beat", "either"),
		KEY(trigger, "level, edge", "level", "edge"),
		KEY(engine, "auto, kernel, builtin", "auto", "kernel", "builtin"),
		KEY(epoll, "level, edge", "level", "edge"),
		KEY(when_full, "close, wait", "close", "wait"),
		KEY(when_work_full, "close, wait", "close", "wait"),
		KEY(log_level, "error, warning, info, debug",
		    "error", "warning", "info", "debug"),
#undef KEY
	};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const uint32_t *member = (void *)((char *)&self->config + keys[i].offset);
		char set[128];

		for (uint32_t w = 0; keys[i].words[w]; w++) {
			snprintf(set, sizeof(set), "%s=%s", keys[i].key, keys[i].words[w]);
			ASSERT_EQ(0, load_set(self, set));
			EXPECT_EQ(w, *member);
			EXPECT_STREQ(keys[i].words[w], config_word(keys[i].key, w));
		}
		snprintf(set, sizeof(set), "%s=sometimes", keys[i].key);
		ASSERT_EQ(-EINVAL, load_set(self, set));
		EXPECT_ERROR(keys[i].key, "\"sometimes\"", keys[i].all);
	}
}

TEST_F(settings, listen)
{
	static const char *const bad[] = {
		"", "80", ":80", "localhost:80", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536",
		"1.2.3.4:-1", "1.2.3.4:8o", "::1:80", "[::1]", "[::1:80", "[1.2.3.4]:80", "[]:80",
	};
	char text[ADDRESS_CHARS], set[128];

	ASSERT_EQ(0, load_set(self, "listen=127.0.0.1:0,[::1]:65535"));
	ASSERT_EQ(2, self->config.n_listen);
	EXPECT_STREQ("127.0.0.1:0", address_format(&self->config.listen[0], text));
	EXPECT_STREQ("[::1]:65535", address_format(&self->config.listen[1], text));

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(set, sizeof(set), "listen=%s", bad[i]);
		ASSERT_EQ(-EINVAL, load_set(self, set)) {
			TH_LOG("%s", bad[i]);
		}
		EXPECT_ERROR("listen", bad[i], "0..65535");
	}
	ASSERT_EQ(-EINVAL, load_file(self, "listen = {}\n"));
	EXPECT_ERROR("listen", "0 addresses", "1..16");
}

TEST_F(settings, strings)
{
	char *sets[] = { "log_file=/a b/\"c\\", "stats_socket=/run/s" };

	ASSERT_EQ(0, load_sets(self, sets, 2));
	EXPECT_STREQ("/a b/\"c\\", self->config.log_file);
	EXPECT_STREQ("/run/s", self->config.stats_socket);
}

TEST_F(settings, unknown_key)
{
	ASSERT_EQ(-EINVAL, load_set(self, "timeout=5"));
	EXPECT_ERROR("timeout=5", "no such key");
	ASSERT_EQ(-EINVAL, load_set(self, "timeout_ms"));
	EXPECT_ERROR("timeout_ms", "KEY=VALUE");
	ASSERT_EQ(-EINVAL, load_file(self, "\nSock_MaxWaitTime = 5\n"));
	EXPECT_ERROR(self->path, ":2:", "Sock_MaxWaitTime");
}

/* The parser itself says nothing of these. */
TEST_F(settings, not_a_key)
{
	ASSERT_EQ(-EINVAL, load_file(self, "reactors = 2\n\"\" = 5\n"));
	EXPECT_ERROR(self->path, ":2:", "KEY = VALUE");
	ASSERT_EQ(-EINVAL, load_file(self, "reactors = 2\n\"timeout_ms = 500\n"));
	EXPECT_ERROR(self->path, "has no end");
	ASSERT_EQ(-EINVAL, load_file(self, "reactors = 2\n/* timeout_ms = 500\n"));
	EXPECT_ERROR(self->path, "has no end");

	ASSERT_EQ(0, load_file(self, "reactors = 2 /* \" */\n# \"")) {
		TH_LOG("%s", self->error);
	}
	EXPECT_EQ(2, self->config.reactors);
}

TEST_F(settings, file)
{
	char *sets[] = { "timeout_ms=300", "reactors=2" };

	ASSERT_EQ(0, load_file(self, "# comment\ntimeout_ms = 200\nepoll = level\n"
				     "listen = {\"127.0.0.1:1\", \"127.0.0.2:2\"}\n")) {
		TH_LOG("%s", self->error);
	}
	EXPECT_EQ(200, self->config.timeout_ms);
	EXPECT_EQ(CONFIG_EPOLL_LEVEL, self->config.epoll);
	EXPECT_EQ(2, self->config.n_listen);

	config_free(&self->config);
	ASSERT_EQ(0, config_load(&self->config, self->path, sets, 2, self->error));
	EXPECT_EQ(300, self->config.timeout_ms);
	EXPECT_EQ(2, self->config.reactors);
	EXPECT_EQ(2, self->config.n_listen);

	ASSERT_EQ(-EINVAL, load_file(self, "reactors = 1\n\ntimeout_ms = 99\n"));
	EXPECT_ERROR(self->path, ":3:", "timeout_ms", "99", "100..604800000");

	ASSERT_EQ(-ENOENT, config_load(&self->config, "/nonexistent/file", NULL, 0, self->error));
	EXPECT_ERROR("/nonexistent/file", "No such file");
}

/* Each is right, and sockbeatd would not start with them. */
TEST_F(settings, wrong_together)
{
	char path[150] = "stats_socket=", *socket[] = { path };
	char *guard[] = { "source=beat", "guard_percent=10" };
	char *probe[] = { "profile=resp", "probe_after_ms=1000" };

	EXPECT_EQ(-EINVAL, load_sets(self, guard, ARRAY_SIZE(guard)));
	EXPECT_ERROR("guard_percent: 10", "source beat");
	EXPECT_EQ(-EINVAL, load_sets(self, probe, ARRAY_SIZE(probe)));
	EXPECT_ERROR("probe_after_ms: 1000", "profile resp has no probe");
	memset(path + strlen(path), 'x', 107);
	EXPECT_EQ(0, load_sets(self, socket, 1));
	path[strlen(path)] = 'x';
	EXPECT_EQ(-EINVAL, load_sets(self, socket, 1));
	EXPECT_ERROR("stats_socket: 108 bytes", "0..107");
}

TEST_F(settings, dump)
{
	char *sets[] = { "listen=[::1]:7,1.2.3.4:8", "timeout_ms=12345", "source=either",
			 "epoll=level", "log_file=/x \"y\\z${HOME}", "max_frames_per_s=0" };
	char *first = NULL, *second = NULL;
	size_t len;
	FILE *out;

	ASSERT_EQ(0, load_sets(self, sets, ARRAY_SIZE(sets)));
	out = open_memstream(&first, &len);
	config_dump(&self->config, out);
	fclose(out);
	EXPECT_NE(NULL, strstr(first, "timeout_ms = 12345\n"));

	ASSERT_EQ(0, load_file(self, first)) {
		TH_LOG("%s", self->error);
	}
	out = open_memstream(&second, &len);
	config_dump(&self->config, out);
	fclose(out);
	EXPECT_STREQ(first, second);
	free(first);
	free(second);
}

TEST_HARNESS_MAIN
