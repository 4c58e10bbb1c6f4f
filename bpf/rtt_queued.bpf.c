/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Reads each TCP packet that a watched host hands to the queueing discipline of its device.
 *
 * Packet taps, and the tracepoint net:net_dev_start_xmit, come after the queueing discipline: where netem is on a host's
 * own interface, they see packets late, and those that it loses never. The tracepoint net:net_dev_queue is before it, in
 * __dev_queue_xmit(), with all headers in place. A raw tracepoint needs neither kprobes nor fexit. It works from 5.10 to
 * 7.3.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "kernel_types.h"
#include "rtt_event.h"
#include "rtt_queued.h"
#include "rtt_stamp.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct rtt_sources {
	char sha256[64];
	struct rtt_queued queued;
};

const struct rtt_sources sources SEC("rttcheck_sources") __attribute__((used)) = { .sha256 = RTT_SOURCES_SHA256 };

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 * 1024 * 1024); /* another size may be set before the object is loaded */
} queued SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rtt_stamp_config);
} queue_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rtt_stamp_counts);
} queue_counts SEC(".maps");

/* Network namespaces by their inode numbers, and which point each is. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u8);
} queue_namespaces SEC(".maps");

SEC("raw_tp/net_dev_queue")
int rtt_queued(struct bpf_raw_tracepoint_args *ctx)
{
	const struct sk_buff *skb = (const void *)ctx->args[0];
	const __u32 only = 0;
	const struct rtt_stamp_config *cfg = bpf_map_lookup_elem(&queue_config, &only);
	struct rtt_stamp_counts *counts = bpf_map_lookup_elem(&queue_counts, &only);
	__u64 now_ns = bpf_ktime_get_ns();
	const unsigned char *head, *network, *transport;
	struct rtt_queued *packet;
	__u8 start[10] = {};
	__u32 inode;
	__u8 *point;

	if (!cfg || !counts || !cfg->watch)
		return 0;
	inode = BPF_CORE_READ(skb, dev, nd_net.net, ns.inum);
	point = bpf_map_lookup_elem(&queue_namespaces, &inode);
	if (!point)
		return 0;
	head = BPF_CORE_READ(skb, head);
	network = head + BPF_CORE_READ(skb, network_header);
	if (bpf_probe_read_kernel(start, sizeof(start), network))
		return 0;
	/* IPv4: the protocol is the tenth byte; IPv6: the next header is the seventh. */
	if ((start[0] >> 4 == 4 ? start[9] : start[6]) != IPPROTO_TCP)
		return 0;
	transport = head + BPF_CORE_READ(skb, transport_header);
	__sync_fetch_and_add(&counts->packets, 1);
	packet = bpf_ringbuf_reserve(&queued, sizeof(*packet), 0);
	if (!packet) {
		__sync_fetch_and_add(&counts->lost, 1);
		return 0;
	}
	if (bpf_probe_read_kernel(packet->network, sizeof(packet->network), network) ||
	    bpf_probe_read_kernel(packet->header, sizeof(packet->header), transport)) {
		__sync_fetch_and_add(&counts->lost, 1);
		bpf_ringbuf_discard(packet, BPF_RB_NO_WAKEUP);
		return 0;
	}
	packet->time_ns = now_ns;
	packet->stamp_ns = BPF_CORE_READ(skb, tstamp);
	packet->payload = BPF_CORE_READ(skb, len) - (__u32)(transport - BPF_CORE_READ(skb, data)) -
			  (packet->header[12] >> 4) * 4;
	packet->watch = cfg->watch;
	packet->point = *point;
	packet->reserved[0] = packet->reserved[1] = packet->reserved[2] = 0;
	bpf_ringbuf_submit(packet, BPF_RB_NO_WAKEUP);
	return 0;
}
