// SPDX-License-Identifier: BSD-3-Clause
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#include "load.h"

/* Buckets are exact below LOAD_HIST_SUB us, then LOAD_HIST_SUB to each power
 * of two: within 6.25% of the truth, as the bucket's upper end is reported.
 */
static unsigned int bucket_of(uint64_t us)
{
	unsigned int shift;

	if (us < LOAD_HIST_SUB)
		return us;
	shift = 63 - __builtin_clzll(us) - 4;
	return (shift + 1) * LOAD_HIST_SUB + (unsigned int)((us >> shift) & (LOAD_HIST_SUB - 1));
}

static uint64_t bucket_end(unsigned int bucket)
{
	unsigned int shift;

	if (bucket < LOAD_HIST_SUB)
		return bucket;
	shift = bucket / LOAD_HIST_SUB - 1;
	return ((uint64_t)(LOAD_HIST_SUB + bucket % LOAD_HIST_SUB + 1) << shift) - 1;
}

/**
 * load_count_rtt - count an answer
 * @load: the load
 * @rtt_us: time from the frame's queueing to its answer's last byte
 */
void load_count_rtt(struct load *load, uint64_t rtt_us)
{
	load->hist[bucket_of(rtt_us)]++;
	if (rtt_us > load->rtt_max_us)
		load->rtt_max_us = rtt_us;
}

static uint64_t percentile_us(const struct load *load, unsigned int percent)
{
	uint64_t want = (load->answered * percent + 99) / 100, seen = 0;

	for (unsigned int i = 0; i < LOAD_HIST_BUCKETS; i++) {
		seen += load->hist[i];
		if (seen >= want && seen) {
			uint64_t end = bucket_end(i);

			return end < load->rtt_max_us ? end : load->rtt_max_us;
		}
	}
	return 0;
}

static json_t *ports_json(const struct load *load)
{
	json_t *ports = json_array();

	for (uint32_t i = 0; i < load->opts.clients; i++) {
		union address address = { .sa.sa_family = AF_UNSPEC };
		socklen_t len = sizeof(address);

		if (!load->clients || load->clients[i].fd < 0 ||
		    getsockname(load->clients[i].fd, &address.sa, &len))
			continue;
		/* sin_port and sin6_port are in the same place. */
		json_array_append_new(ports, json_integer(ntohs(address.in.sin_port)));
	}
	return ports;
}

static int print_json(json_t *json)
{
	int err = json_dumpf(json, stdout, JSON_COMPACT);

	json_decref(json);
	putchar('\n');
	return fflush(stdout) || err ? -1 : 0;
}

/**
 * load_report_ready - say that all clients are connected, or have failed to be
 * @load: the load
 *
 * Return: 0, or -1 if it could not be written.
 */
int load_report_ready(const struct load *load)
{
	json_t *json;

	if (!load->opts.json) {
		printf("ready: connected %" PRIu64 "\n", load->connected);
		return fflush(stdout);
	}
	json = json_object();
	json_object_set_new(json, "event", json_string("ready"));
	json_object_set_new(json, "connected", json_integer(load->connected));
	if (load->opts.report_ports)
		json_object_set_new(json, "ports", ports_json(load));
	return print_json(json);
}

/**
 * load_report_end - say how it went
 * @load: the load
 *
 * Return: 0, or -1 if it could not be written.
 */
int load_report_end(const struct load *load)
{
	uint64_t p50_us = percentile_us(load, 50), p99_us = percentile_us(load, 99);
	json_t *json, *rtt;

	if (!load->opts.json) {
#define X(name) printf("%-17s %" PRIu64 "\n", #name, load->name);
		LOAD_COUNTERS(X)
#undef X
		printf("%-17s %" PRIu64 "\n", "unanswered", load->outstanding);
		printf("rtt_us            p50 %" PRIu64 " p99 %" PRIu64 " max %" PRIu64 "\n",
		       p50_us, p99_us, load->rtt_max_us);
		return fflush(stdout);
	}
	json = json_object();
	rtt = json_object();
	json_object_set_new(json, "event", json_string("report"));
#define X(name) json_object_set_new(json, #name, json_integer(load->name));
	LOAD_COUNTERS(X)
#undef X
	json_object_set_new(json, "open", json_integer(load->open));
	json_object_set_new(json, "unanswered", json_integer(load->outstanding));
	json_object_set_new(rtt, "p50", json_integer(p50_us));
	json_object_set_new(rtt, "p99", json_integer(p99_us));
	json_object_set_new(rtt, "max", json_integer(load->rtt_max_us));
	json_object_set_new(json, "rtt_us", rtt);
	if (load->opts.report_ports)
		json_object_set_new(json, "ports", ports_json(load));
	return print_json(json);
}
