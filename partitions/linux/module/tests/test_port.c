// SPDX-License-Identifier: GPL-2.0
/*
 * Host tests of the port protocols (module/port.c): `make check` beside it.
 * Each case plays the peer by writing its region's words.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../port.h"
#include "bulkhead_abi.h"

#define MESSAGE_BYTES 32
#define SLOTS 4
#define HZ_1MHZ 1000000ULL
#define REGION_BYTES 4096

static unsigned int checks, failures;

#define CHECK(condition) check((condition), #condition, __func__, __LINE__)

static void check(bool holds, const char *text, const char *where, int line)
{
	checks++;
	if (holds)
		return;
	failures++;
	fprintf(stderr, "%s:%d: does not hold: %s\n", where, line, text);
}

/* Both regions, the published epochs of both ends, and both ends of one port. */
struct pair {
	_Alignas(8) u8 writer[REGION_BYTES];
	_Alignas(8) u8 consumer[REGION_BYTES];
	u32 source_epoch;
	u32 destination_epoch;
	struct bh_port source;
	struct bh_port destination;
};

static void describe(struct pair *pair, struct bh_port *port, u32 kind, u32 direction)
{
	bool source = direction == BULKHEAD_DIRECTION_SOURCE;

	*port = (struct bh_port) {
		.kind = kind,
		.direction = direction,
		.message_bytes = MESSAGE_BYTES,
		.slots = SLOTS,
		.own_epoch = source ? pair->source_epoch : pair->destination_epoch,
		.refresh_ns = 2000,
		.clock_hz = HZ_1MHZ,
		.writer = pair->writer,
		.consumer = kind == BULKHEAD_KIND_QUEUING ? pair->consumer : NULL,
		.peer_epoch = source ? &pair->destination_epoch : &pair->source_epoch,
	};
}

/* A (re)start of one end as the hypervisor does it: its region zeroed, its epoch raised. */
static void start(struct pair *pair, u32 kind, u32 direction)
{
	bool source = direction == BULKHEAD_DIRECTION_SOURCE;
	struct bh_port *port = source ? &pair->source : &pair->destination;

	memset(source ? pair->writer : pair->consumer, 0, REGION_BYTES);
	++*(source ? &pair->source_epoch : &pair->destination_epoch);
	describe(pair, port, kind, direction);
	bh_port_start(port);
}

static struct pair *fresh(u32 kind)
{
	struct pair *pair = calloc(1, sizeof(*pair));

	if (!pair)
		abort();
	start(pair, kind, BULKHEAD_DIRECTION_SOURCE);
	start(pair, kind, BULKHEAD_DIRECTION_DESTINATION);
	return pair;
}

static void poke64(void *region, u64 offset, u64 value)
{
	memcpy((u8 *)region + offset, &value, sizeof(value));
}

static void poke32(void *region, u64 offset, u32 value)
{
	memcpy((u8 *)region + offset, &value, sizeof(value));
}

static u64 peek64(void *region, u64 offset)
{
	u64 value;

	memcpy(&value, (u8 *)region + offset, sizeof(value));
	return value;
}

/* Takes one message; its first byte, or -1 - the result. */
static int take(struct pair *pair)
{
	u8 buffer[MESSAGE_BYTES] = { 0 };
	struct bh_stamp stamp;
	enum bh_result result = bh_queue_peek(&pair->destination, buffer, sizeof(buffer), &stamp);

	if (result != BH_OK)
		return -1 - (int)result;
	bh_queue_consume(&pair->destination);
	return buffer[0];
}

static enum bh_result put(struct pair *pair, u8 first)
{
	u8 message[2] = { first, 0 };

	return bh_queue_send(&pair->source, message, sizeof(message), 7);
}

static void sampling_carries_the_newest_message(void)
{
	struct pair *pair = fresh(BULKHEAD_KIND_SAMPLING);
	char buffer[MESSAGE_BYTES];
	struct bh_stamp stamp;
	u32 epoch;

	CHECK(bh_sampling_read(&pair->destination, buffer, &stamp) == BH_EMPTY);
	for (u64 i = 1; i <= 11; i++) {
		char text[MESSAGE_BYTES];
		u32 length = snprintf(text, sizeof(text), "message %llu", (unsigned long long)i);

		CHECK(bh_sampling_write(&pair->source, text, length, 100 * i) == BH_OK);
		CHECK(bh_sampling_read(&pair->destination, buffer, &stamp) == BH_OK);
		CHECK(stamp.length == length && !memcmp(buffer, text, length));
		CHECK(stamp.sequence == i && stamp.ticks == 100 * i && stamp.epoch == 1);
	}
	CHECK(bh_sampling_latest(&pair->destination, &epoch) == 11 && epoch == 1);
	CHECK(bh_sampling_read(&pair->destination, NULL, &stamp) == BH_OK);
	CHECK(pair->destination.overruns == 0 && pair->destination.violations == 0);
	free(pair);
}

static void lengths_are_bounded_at_the_source(void)
{
	struct pair *sampling = fresh(BULKHEAD_KIND_SAMPLING);
	struct pair *queue = fresh(BULKHEAD_KIND_QUEUING);
	u8 message[MESSAGE_BYTES + 1] = { 0 };

	CHECK(bh_sampling_write(&sampling->source, message, MESSAGE_BYTES + 1, 0) == BH_LENGTH);
	CHECK(bh_sampling_write(&sampling->source, message, 0, 0) == BH_LENGTH);
	CHECK(bh_sampling_write(&sampling->source, message, MESSAGE_BYTES, 0) == BH_OK);
	CHECK(bh_queue_send(&queue->source, message, MESSAGE_BYTES + 1, 0) == BH_LENGTH);
	CHECK(bh_queue_send(&queue->source, message, 0, 0) == BH_LENGTH);
	CHECK(bh_queue_send(&queue->source, message, MESSAGE_BYTES, 0) == BH_OK);
	free(sampling);
	free(queue);
}

static void age_decides_validity(void)
{
	struct pair *pair = fresh(BULKHEAD_KIND_SAMPLING);
	const struct bh_port *port = &pair->destination;

	CHECK(bh_age_ns(port, 10, 10) == 0);
	CHECK(bh_age_ns(port, 10, 12) == 2000 && bh_fresh(port, 2000));
	CHECK(bh_age_ns(port, 10, 13) == 3000 && !bh_fresh(port, 3000));
	CHECK(bh_age_ns(port, 11, 10) == BH_NO_AGE && !bh_fresh(port, BH_NO_AGE));
	CHECK(bh_age_ns(port, 0, ~0ULL) == BH_NO_AGE);
	pair->destination.clock_hz = UINT32_MAX; /* here the difference alone would be an age */
	CHECK(bh_age_ns(port, 11, 10) == BH_NO_AGE);
	pair->destination.clock_hz = HZ_1MHZ;
	CHECK(bh_age_ns(port, 0, 5000000 * HZ_1MHZ + 1) == 5000000ULL * 1000000000 + 1000);
	free(pair);
}

static void sampling_survives_a_hostile_writer(void)
{
	struct pair *pair = fresh(BULKHEAD_KIND_SAMPLING);
	struct bh_port *port = &pair->destination;
	u8 buffer[MESSAGE_BYTES];
	struct bh_stamp stamp;
	u64 slot = BULKHEAD_SAMPLING_SLOTS + pair->source.stride; /* of message 1 */

	CHECK(bh_sampling_write(&pair->source, "x", 1, 0) == BH_OK);
	poke32(pair->writer, slot + BULKHEAD_SAMPLING_SLOT_LENGTH, MESSAGE_BYTES + 1);
	CHECK(bh_sampling_read(port, buffer, &stamp) == BH_VIOLATION);
	poke32(pair->writer, slot + BULKHEAD_SAMPLING_SLOT_LENGTH, UINT32_MAX);
	CHECK(bh_sampling_read(port, buffer, &stamp) == BH_VIOLATION);
	poke32(pair->writer, slot + BULKHEAD_SAMPLING_SLOT_LENGTH, 0);
	CHECK(bh_sampling_read(port, buffer, &stamp) == BH_VIOLATION);
	CHECK(port->violations == 3 && port->overruns == 0);
	poke64(pair->writer, BULKHEAD_SAMPLING_LATEST, ~0ULL);
	CHECK(bh_sampling_read(port, buffer, &stamp) == BH_OVERRUN);
	poke64(pair->writer, slot + BULKHEAD_SAMPLING_SLOT_SEQUENCE, 0);
	poke64(pair->writer, BULKHEAD_SAMPLING_LATEST, 1);
	CHECK(bh_sampling_read(port, buffer, &stamp) == BH_OVERRUN);
	CHECK(port->overruns == 2);
	free(pair);
}

static void sampling_believes_only_the_current_writer(void)
{
	struct pair *pair = fresh(BULKHEAD_KIND_SAMPLING);
	u8 buffer[MESSAGE_BYTES];
	struct bh_stamp stamp;

	CHECK(bh_sampling_write(&pair->source, "old", 3, 0) == BH_OK);
	pair->source_epoch = 0; /* the hypervisor stopped it */
	CHECK(bh_sampling_read(&pair->destination, buffer, &stamp) == BH_EMPTY);
	pair->source_epoch = 2; /* runs again, but has not opened the port */
	CHECK(bh_sampling_read(&pair->destination, buffer, &stamp) == BH_EMPTY);
	start(pair, BULKHEAD_KIND_SAMPLING, BULKHEAD_DIRECTION_SOURCE);
	CHECK(bh_sampling_read(&pair->destination, buffer, &stamp) == BH_EMPTY);
	CHECK(bh_sampling_write(&pair->source, "new", 3, 0) == BH_OK);
	CHECK(bh_sampling_read(&pair->destination, buffer, &stamp) == BH_OK);
	CHECK(stamp.epoch == 3 && stamp.sequence == 1 && !memcmp(buffer, "new", 3));
	free(pair);
}

static void queue_keeps_order_and_refuses_when_full(void)
{
	struct pair *pair = fresh(BULKHEAD_KIND_QUEUING);

	CHECK(take(pair) == -1 - BH_EMPTY);
	for (u8 round = 0; round < 9; round++) {
		for (u8 i = 0; i < SLOTS; i++)
			CHECK(put(pair, round + i) == BH_OK);
		CHECK(!bh_queue_has_room(&pair->source));
		CHECK(put(pair, 99) == BH_FULL);
		CHECK(bh_queue_used(&pair->source) == SLOTS);
		CHECK(bh_queue_used(&pair->destination) == SLOTS);
		for (u8 i = 0; i < SLOTS; i++)
			CHECK(take(pair) == round + i);
		CHECK(!bh_queue_has_message(&pair->destination));
		CHECK(take(pair) == -1 - BH_EMPTY);
	}
	bh_queue_refuse(&pair->source);
	CHECK(bh_queue_refused(&pair->destination) == 1);
	CHECK(pair->source.violations == 0 && pair->destination.violations == 0);
	free(pair);
}

static void queue_leaves_a_message_too_long_for_the_buffer(void)
{
	struct pair *pair = fresh(BULKHEAD_KIND_QUEUING);
	struct bh_stamp stamp;
	u8 guarded[2] = { 0xEE, 0xEE };

	CHECK(put(pair, 5) == BH_OK);
	CHECK(bh_queue_peek(&pair->destination, guarded, 1, &stamp) == BH_LENGTH);
	CHECK(guarded[0] == 0xEE && stamp.length == 2);
	CHECK(take(pair) == 5);
	free(pair);
}

static void queue_survives_a_hostile_producer(void)
{
	struct pair *pair = fresh(BULKHEAD_KIND_QUEUING);
	struct bh_port *port = &pair->destination;
	u64 heads[] = { SLOTS + 1, 1ULL << 63, ~0ULL };

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		poke64(pair->writer, BULKHEAD_PRODUCER_HEAD, heads[i]);
		CHECK(bh_queue_has_message(port));
		CHECK(bh_queue_used(port) == SLOTS);
		CHECK(take(pair) == -1 - BH_VIOLATION);
		CHECK(take(pair) == -1 - BH_EMPTY);
		CHECK(port->violations == i + 1);
	}
	/* A length out of bounds costs that message alone. */
	poke64(pair->writer, BULKHEAD_PRODUCER_HEAD, 1); /* head wrapped: ~0, 0, 1 */
	poke32(pair->writer, BULKHEAD_PRODUCER_SLOTS + 3 * port->stride, MESSAGE_BYTES + 1);
	poke32(pair->writer, BULKHEAD_PRODUCER_SLOTS, 1);
	poke32(pair->writer, BULKHEAD_PRODUCER_SLOTS + BULKHEAD_PRODUCER_SLOT_DATA, 'k');
	CHECK(take(pair) == -1 - BH_VIOLATION);
	CHECK(take(pair) == 'k');
	CHECK(take(pair) == -1 - BH_EMPTY);
	free(pair);
}

static void queue_survives_a_hostile_consumer(void)
{
	struct pair *pair = fresh(BULKHEAD_KIND_QUEUING);
	struct bh_port *port = &pair->source;

	CHECK(put(pair, 1) == BH_OK && put(pair, 2) == BH_OK && take(pair) == 1);
	CHECK(put(pair, 3) == BH_OK && take(pair) == 2); /* believed tail 1, tail 2 */
	poke64(pair->consumer, BULKHEAD_CONSUMER_TAIL, 4); /* ahead of head 3 */
	CHECK(put(pair, 4) == BH_OK && port->violations == 1);
	poke64(pair->consumer, BULKHEAD_CONSUMER_TAIL, 0); /* gives slots back that it had freed */
	CHECK(put(pair, 5) == BH_OK && port->violations == 2);
	poke64(pair->consumer, BULKHEAD_CONSUMER_TAIL, ~0ULL);
	CHECK(put(pair, 6) == BH_FULL && port->violations == 3);
	CHECK(port->position == 5 && port->believed_tail == 1);
	free(pair);
}

static void consumer_follows_a_producer_that_restarts(void)
{
	struct pair *pair = fresh(BULKHEAD_KIND_QUEUING);

	CHECK(put(pair, 1) == BH_OK && put(pair, 2) == BH_OK && take(pair) == 1);
	pair->source_epoch = 0;
	CHECK(take(pair) == -1 - BH_EMPTY && !bh_queue_has_message(&pair->destination));
	pair->source_epoch = 1;
	start(pair, BULKHEAD_KIND_QUEUING, BULKHEAD_DIRECTION_SOURCE);
	/* Until the consumer follows, the producer believes none of its words. */
	for (u8 i = 0; i < SLOTS; i++)
		CHECK(put(pair, 10 + i) == BH_OK);
	CHECK(put(pair, 99) == BH_FULL && pair->source.violations == 0);
	CHECK(bh_queue_used(&pair->destination) == SLOTS);
	CHECK(take(pair) == 10 && take(pair) == 11);
	CHECK(put(pair, 14) == BH_OK && take(pair) == 12 && take(pair) == 13 && take(pair) == 14);
	CHECK(pair->destination.violations == 0 && pair->source.violations == 0);
	free(pair);
}

static void consumer_that_restarts_finds_an_empty_queue(void)
{
	struct pair *pair = fresh(BULKHEAD_KIND_QUEUING);

	CHECK(put(pair, 1) == BH_OK && put(pair, 2) == BH_OK && take(pair) == 1);
	CHECK(put(pair, 3) == BH_OK && put(pair, 4) == BH_OK);
	/* What the stopped consumer left behind, or leaves half scrubbed, is not believed. */
	poke64(pair->consumer, BULKHEAD_CONSUMER_TAIL, 4);
	pair->destination_epoch = 0;
	CHECK(put(pair, 5) == BH_OK && put(pair, 99) == BH_FULL);
	pair->destination_epoch = 2;
	CHECK(put(pair, 99) == BH_FULL && pair->source.violations == 0);
	pair->destination_epoch = 1;
	start(pair, BULKHEAD_KIND_QUEUING, BULKHEAD_DIRECTION_DESTINATION);
	CHECK(take(pair) == -1 - BH_EMPTY);
	for (u8 i = 0; i < SLOTS; i++)
		CHECK(put(pair, 20 + i) == BH_OK);
	CHECK(take(pair) == 20 && pair->source.violations == 0);
	free(pair);
}

static void reload_within_a_start_continues(void)
{
	struct pair *queue = fresh(BULKHEAD_KIND_QUEUING);
	struct pair *sampling = fresh(BULKHEAD_KIND_SAMPLING);
	struct bh_stamp stamp;

	for (u8 i = 0; i < 6; i++)
		CHECK(put(queue, i) == BH_OK && take(queue) == i);
	CHECK(put(queue, 6) == BH_OK);
	bh_port_start(&queue->source);
	bh_port_start(&queue->destination);
	CHECK(queue->source.position == 7 && queue->destination.position == 6);
	CHECK(put(queue, 7) == BH_OK && take(queue) == 6 && take(queue) == 7);
	CHECK(queue->source.violations == 0 && queue->destination.violations == 0);

	CHECK(bh_sampling_write(&sampling->source, "a", 1, 0) == BH_OK);
	bh_port_start(&sampling->source);
	CHECK(bh_sampling_write(&sampling->source, "b", 1, 0) == BH_OK);
	CHECK(bh_sampling_read(&sampling->destination, NULL, &stamp) == BH_OK && stamp.sequence == 2);
	free(queue);
	free(sampling);
}

/* Regions of noise: no operation may leave its buffers (run with sanitizers) or loop. */
static void noise_is_contained(void)
{
	unsigned int seed = 1;

	for (int round = 0; round < 20000; round++) {
		struct pair *pair = fresh(round & 1 ? BULKHEAD_KIND_QUEUING : BULKHEAD_KIND_SAMPLING);
		u8 *buffer = malloc(MESSAGE_BYTES);
		struct bh_stamp stamp;

		for (int i = 0; i < 64; i++) {
			u32 word = (u32)rand_r(&seed) << (rand_r(&seed) % 16);

			poke32(pair->writer, 4 * (rand_r(&seed) % 64), word);
			poke32(pair->consumer, 4 * (rand_r(&seed) % 4), word);
		}
		poke32(pair->writer, BULKHEAD_PRODUCER_EPOCH, pair->source_epoch);
		poke32(pair->consumer, BULKHEAD_CONSUMER_EPOCH, pair->destination_epoch);
		poke32(pair->consumer, BULKHEAD_CONSUMER_PEER_EPOCH, pair->source_epoch);
		if (round & 1) {
			enum bh_result result =
				bh_queue_peek(&pair->destination, buffer, MESSAGE_BYTES, &stamp);

			CHECK(result != BH_OK || stamp.length <= MESSAGE_BYTES);
			CHECK(put(pair, 1) == BH_OK);
			CHECK(bh_queue_used(&pair->source) <= SLOTS);
		} else {
			CHECK(bh_sampling_read(&pair->destination, buffer, &stamp) != BH_OK ||
			      stamp.length <= MESSAGE_BYTES);
		}
		free(buffer);
		free(pair);
	}
}

#define TRANSFERS 200000

static void *stream_source(void *argument)
{
	struct pair *pair = argument;
	u64 words[MESSAGE_BYTES / 8];

	for (u64 i = 1; i <= TRANSFERS;) {
		for (int w = 0; w < MESSAGE_BYTES / 8; w++)
			words[w] = i;
		if (pair->source.kind == BULKHEAD_KIND_SAMPLING ||
		    bh_queue_has_room(&pair->source)) {
			if (pair->source.kind == BULKHEAD_KIND_SAMPLING)
				bh_sampling_write(&pair->source, words, sizeof(words), i);
			else
				bh_queue_send(&pair->source, words, sizeof(words), i);
			i++;
		} else {
			sched_yield();
		}
	}
	return NULL;
}

static bool whole(const u64 *words, u64 stamp_ticks)
{
	for (int w = 0; w < MESSAGE_BYTES / 8; w++)
		if (words[w] != stamp_ticks)
			return false;
	return true;
}

static void messages_are_whole_with_both_ends_running(void)
{
	u32 kinds[] = { BULKHEAD_KIND_SAMPLING, BULKHEAD_KIND_QUEUING };

	for (int k = 0; k < 2; k++) {
		struct pair *pair = fresh(kinds[k]);
		u64 words[MESSAGE_BYTES / 8], last = 0;
		struct bh_stamp stamp;
		bool torn = false, disorder = false;
		pthread_t thread;

		/* A single slot: the writer is always where the reader reads. */
		if (kinds[k] == BULKHEAD_KIND_SAMPLING)
			pair->source.slots = pair->destination.slots = 1;
		if (pthread_create(&thread, NULL, stream_source, pair))
			abort();
		while (last < TRANSFERS) {
			enum bh_result result = k ?
				bh_queue_peek(&pair->destination, words, sizeof(words), &stamp) :
				bh_sampling_read(&pair->destination, words, &stamp);

			if (result != BH_OK) {
				sched_yield();
				continue;
			}
			torn |= stamp.length != sizeof(words) || !whole(words, stamp.ticks);
			disorder |= k ? stamp.ticks != last + 1 : stamp.ticks < last;
			last = stamp.ticks;
			if (k)
				bh_queue_consume(&pair->destination);
		}
		pthread_join(thread, NULL);
		CHECK(!torn);
		CHECK(!disorder);
		CHECK(pair->destination.violations == 0 && pair->source.violations == 0);
		CHECK(peek64(pair->writer, 0) == TRANSFERS);
		free(pair);
	}
}

static void regions_have_the_size_of_the_abi(void)
{
	CHECK(bh_region_bytes(BULKHEAD_KIND_SAMPLING, 64, 4) == 0x40 + 4 * (0x18 + 64));
	CHECK(bh_region_bytes(BULKHEAD_KIND_SAMPLING, 1, 4) == 0x40 + 4 * (0x18 + 8));
	CHECK(bh_region_bytes(BULKHEAD_KIND_QUEUING, 256, 32) == 0x40 + 32 * (0x10 + 256));
}

int main(void)
{
	regions_have_the_size_of_the_abi();
	sampling_carries_the_newest_message();
	lengths_are_bounded_at_the_source();
	age_decides_validity();
	sampling_survives_a_hostile_writer();
	sampling_believes_only_the_current_writer();
	queue_keeps_order_and_refuses_when_full();
	queue_leaves_a_message_too_long_for_the_buffer();
	queue_survives_a_hostile_producer();
	queue_survives_a_hostile_consumer();
	consumer_follows_a_producer_that_restarts();
	consumer_that_restarts_finds_an_empty_queue();
	reload_within_a_start_continues();
	noise_is_contained();
	messages_are_whole_with_both_ends_running();
	printf("port protocol: %u checks, %u failed\n", checks, failures);
	return failures ? 1 : 0;
}
