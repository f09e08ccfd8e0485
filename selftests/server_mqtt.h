/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * MQTT 3.1.1: messages of QoS 0 to whoever subscribed exactly their topic.
 */
enum {
	MQTT_CONNECT = 1,
	MQTT_PUBLISH = 3,
	MQTT_SUBSCRIBE = 8,
	MQTT_UNSUBSCRIBE = 10,
	MQTT_PINGREQ = 12,
	MQTT_DISCONNECT = 14,
};

/* A packet's length without and with its header; 0 where its end is missing. */
static ssize_t mqtt_length(const uint8_t *in, size_t len, size_t *body)
{
	size_t at = 1;

	for (*body = 0; at < len && at < 5; at++) {
		*body |= (in[at] & 0x7fUL) << 7 * (at - 1);
		if (!(in[at] & 0x80))
			return len - at - 1 < *body ? 0 : (ssize_t)(at + 1 + *body);
	}
	return at < 5 ? 0 : -1;
}

/* "MQTT", level 4, and a keepalive that is kept to one and a half times. */
static int mqtt_connect(struct server *s, struct conn *c, const uint8_t *in, size_t len)
{
	struct sockbeat_peer peer = { .handle = c->at.handle, .mask = SOCKBEAT_PEER_TIMEOUT };

	if (c->is_up || len < 10 || memcmp(in, "\0\4MQTT\4", 7))
		return -1;
	peer.timeout_ms = (in[8] << 8 | in[9]) * 1500;
	if (peer.timeout_ms && set_peer(s, peer))
		return -1;
	say(c, "\40\2\0\0", 4);
	begin_offload(s, c);
	return 0;
}

static int mqtt_subscribe(struct conn *c, const uint8_t *in, size_t len)
{
	uint8_t ack[] = { 0x90, 3, 0, 0, 0 };
	size_t topic;

	if (len < 5)
		return -1;
	topic = in[2] << 8 | in[3];
	/* One at a time. */
	if (topic >= sizeof(c->topic) || len != 5 + topic)
		return -1;
	memcpy(c->topic, in + 4, topic);
	c->topic[topic] = '\0';
	memcpy(ack + 2, in, 2);
	say(c, ack, sizeof(ack));
	return 0;
}

static int mqtt_unsubscribe(struct conn *c, const uint8_t *in, size_t len)
{
	if (len < 2)
		return -1;
	c->topic[0] = '\0';
	say(c, "\260\2", 2);
	say(c, in, 2);
	return 0;
}

static int mqtt_publish(struct server *s, const uint8_t *packet, size_t size, size_t body)
{
	const uint8_t *in = packet + size - body;
	size_t topic;

	/* Nothing but QoS 0. */
	if (packet[0] & 0x06 || body < 2)
		return -1;
	topic = in[0] << 8 | in[1];
	if (body < 2 + topic)
		return -1;
	for (struct conn *c = s->conns; c; c = c->next) {
		if (!topic || strlen(c->topic) != topic || memcmp(c->topic, in + 2, topic))
			continue;
		say(c, packet, size);
		conn_flush(c);
	}
	return 0;
}

static ssize_t mqtt_feed(struct server *s, struct conn *c, const uint8_t *in, size_t len)
{
	size_t body;
	ssize_t size = mqtt_length(in, len, &body);
	int type = in[0] >> 4, err = 0;

	if (size <= 0)
		return size;
	if (!c->is_up && type != MQTT_CONNECT)
		return -1;
	s->requests += type != MQTT_PINGREQ;
	switch (type) {
	case MQTT_CONNECT:
		err = mqtt_connect(s, c, in + size - body, body);
		break;
	case MQTT_SUBSCRIBE:
		err = mqtt_subscribe(c, in + size - body, body);
		break;
	case MQTT_UNSUBSCRIBE:
		err = mqtt_unsubscribe(c, in + size - body, body);
		break;
	case MQTT_PUBLISH:
		err = mqtt_publish(s, in, size, body);
		break;
	case MQTT_PINGREQ:
		s->heartbeats++;
		say(c, "\320\0", 2);
		break;
	case MQTT_DISCONNECT:
	default:
		err = -1;
	}
	return err ? -1 : size;
}

static const struct protocol mqtt = { "mqtt", NULL, mqtt_feed };
