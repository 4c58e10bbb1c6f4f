/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The probe's maps and what is in them: the ring of events, settings and counters for user space, and what the programs
 * remember from one call to the next.
 */
#ifndef RTT_MAPS_H
#define RTT_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "rtt_event.h"
#include "rtt_probe.h"

/* The arguments of one call. */
struct rtt_call {
	__u64 sk;
	__u64 rs;
	__s64 first_rtt_us;
	__s64 sack_rtt_us;
	__s64 last_rtt_us;
	__s32 flag;
	__u32 watch;
};

/* The socket of a call, besides its address, which the kernel reuses. */
struct rtt_identity {
	__u8 saddr[16];
	__u8 daddr[16];
	__u16 sport;
	__u16 dport;
	__u32 netns;
};

struct rtt_connection {
	struct rtt_identity identity;
	__u64 generation;
	__u64 in_handshake; /* its only event so far is a handshake that gave no sample */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 * 1024 * 1024); /* another size may be set before the object is loaded */
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rtt_config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rtt_counts);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u8);
} namespaces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct rtt_connection);
} connections SEC(".maps");

/*
 * kprobe: calls in progress, by the stack pointer at entry. Two such calls never share a frame, neither on two CPUs
 * nor when a softirq interrupts the task that owns another socket, so no stack of calls per thread is needed, and a
 * return can only find its own entry.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct rtt_call);
} calls SEC(".maps");

/*
 * Updating a map of maps is the one map operation that waits until every program that was running has ended
 * (maybe_wait_bpf_programs() in kernel/bpf/syscall.c): user space uses it to know that a watch is over.
 */
struct rtt_inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} barrier_inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct rtt_inner);
} barrier SEC(".maps") = { .values = { &barrier_inner } };

#endif /* RTT_MAPS_H */
