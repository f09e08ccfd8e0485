/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Settings of sockbeatd: from a file and from --set, each checked against one
 * table that also gives the defaults. Documentation/sockbeatd.md explains them.
 */
#ifndef SOCKBEAT_CONFIG_H
#define SOCKBEAT_CONFIG_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "address.h"

#define CONFIG_MAX_LISTEN	16
#define CONFIG_ERROR_BYTES	512

enum config_epoll {
	CONFIG_EPOLL_LEVEL,
	CONFIG_EPOLL_EDGE,
};

/* Whether the kernel answers heartbeats, where the engine can. */
enum config_offload {
	CONFIG_OFFLOAD_OFF,
	CONFIG_OFFLOAD_ON,
};

/* When there is no room for what comes. */
enum config_full {
	CONFIG_FULL_CLOSE,
	CONFIG_FULL_WAIT,
};

/* Members are in the order of the table in config.c. */
struct config {
	union address listen[CONFIG_MAX_LISTEN];
	uint32_t n_listen;
	uint32_t reactors;
	uint32_t max_connections;
	uint32_t max_connections_per_address;	/* 0: no limit */
	uint32_t pool_slots;		/* of each reactor */
	uint32_t when_full;		/* enum config_full */
	uint32_t recycle_delay_ms;
	uint32_t timeout_ms;
	uint32_t renotify_ms;
	uint32_t source;		/* enum sockbeat_source */
	uint32_t trigger;		/* enum sockbeat_trigger */
	uint32_t engine;		/* enum sockbeat_engine */
	uint32_t epoll;			/* enum config_epoll */
	uint32_t offload;		/* enum config_offload */
	uint32_t profile;		/* by its place among the words */
	uint32_t min_heartbeat_interval_ms;
	uint32_t probe_after_ms;	/* 0: never */
	uint32_t act_after_ms;
	uint32_t suspect_percent;	/* 0: no warning */
	uint32_t adaptive_beats;	/* 0: a fixed timeout */
	uint32_t adaptive_min_ms;
	uint32_t guard_percent;		/* 0: no guard */
	uint32_t guard_window_ms;
	uint32_t max_frame_bytes;
	uint32_t frame_timeout_ms;	/* 0: none */
	uint32_t max_frames_per_s;	/* 0: no limit */
	uint32_t max_queue_bytes;
	uint32_t workers;
	uint32_t work_queue;
	uint32_t max_client_jobs;
	uint32_t when_work_full;	/* enum config_full */
	uint32_t accept_batch;
	uint32_t drain_timeout_ms;
	uint32_t log_level;		/* enum log_level */
	char *log_file;			/* empty: stderr */
	char *stats_socket;		/* empty: none */
};

int config_load(struct config *config, const char *file, char *const *sets,
		size_t n_sets, char error[CONFIG_ERROR_BYTES]);
void config_dump(const struct config *config, FILE *out);
void config_free(struct config *config);
const char *config_word(const char *key, uint32_t value);

#endif /* SOCKBEAT_CONFIG_H */
