// SPDX-License-Identifier: GPL-2.0
/*
 * Faults of the two ends of a sample: the stamp that a segment gets in __tcp_transmit_skb(), and the time that TCP
 * believes it is when it looks at an ACK.
 */
#include <net/tcp.h>

#include "saboteur.h"

struct sending {
	struct tcp_sock *tp;
	struct sk_buff *skb;
	int clone;
	u64 clock;
};

struct send_fault {
	void (*enter)(struct sending *sending);
	void (*leave)(struct sending *sending, int failed);
};

static const struct send_fault *send_fault;
static bool receive_fault, packet_fault;

/*
 * Stamped as if it left `amount` microseconds before. __tcp_transmit_skb() takes the later one of the clock that was
 * read and the departure time that pacing wants.
 */
static void stamp_enter(struct sending *sending)
{
	struct tcp_sock *tp = sending->tp;

	/*
	 * Timestamps are made of the stamp: an echo from before the connection began would be refused (PAWSACTIVEREJECTED)
	 * and the SYN sent again, a second later.
	 */
	if (TCP_SKB_CB(sending->skb)->tcp_flags & TCPHDR_SYN)
		return;
	/* A pure ACK is never acknowledged: its stamp is part of the fault and gives no sample. */
	if (sending->clone && !due())
		return;
	tp->tcp_clock_cache -= amount * NSEC_PER_USEC;
	tp->tcp_wstamp_ns = min_t(u64, tp->tcp_wstamp_ns, tp->tcp_clock_cache);
}

static void stamp_leave(struct sending *sending, int failed)
{
	sending->tp->tcp_clock_cache = sending->clock;
}

/* The packet's stamp is right; the segment that waits for its ACK has another. */
static void queue_leave(struct sending *sending, int failed)
{
	if (sending->clone && !failed && due())
		sending->skb->skb_mstamp_ns -= amount * NSEC_PER_USEC;
}

static int at_send(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	struct sending *sending = (void *)instance->data;

	*sending = (struct sending){
		.tp = tcp_sk((struct sock *)regs->di),
		.skb = (struct sk_buff *)regs->si,
		.clone = regs->dx,
	};
	sending->clock = sending->tp->tcp_clock_cache;
	if (send_fault && send_fault->enter)
		send_fault->enter(sending);
	return 0;
}

static int after_send(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	if (send_fault && send_fault->leave)
		send_fault->leave((void *)instance->data, regs_return_value(regs));
	return 0;
}

static struct kretprobe send_probe;

static int send_start(void *apply)
{
	send_fault = apply;
	/* A probe that was registered once cannot be again as it is. */
	memset(&send_probe, 0, sizeof(send_probe));
	send_probe.kp.symbol_name = "__tcp_transmit_skb";
	send_probe.entry_handler = at_send;
	send_probe.handler = after_send;
	send_probe.data_size = sizeof(struct sending);
	send_probe.maxactive = 64;
	return register_kretprobe(&send_probe);
}

static void send_stop(void)
{
	unregister_kretprobe(&send_probe);
}

static const struct fault send_faults[] = {
	{ "stamp", &(struct send_fault){ .enter = stamp_enter, .leave = stamp_leave } },
	{ "queue_stamp", &(struct send_fault){ .leave = queue_leave } },
	{}
};

const struct part send_part = { .faults = send_faults, .start = send_start, .stop = send_stop };

/* The segment that waits has the right stamp; the packet that leaves says another. */
static int at_packet(struct kprobe *probe, struct pt_regs *regs)
{
	struct sk_buff *skb = (struct sk_buff *)regs->si;

	if (packet_fault && skb->tstamp && due())
		skb->tstamp -= amount * NSEC_PER_USEC;
	return 0;
}

static struct kprobe packet_probes[2];

static int packet_start(void *apply)
{
	static const char *const names[] = { "ip_queue_xmit", "inet6_csk_xmit" };
	int i, failed;

	packet_fault = apply;
	memset(packet_probes, 0, sizeof(packet_probes));
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		packet_probes[i].symbol_name = names[i];
		packet_probes[i].pre_handler = at_packet;
		failed = register_kprobe(&packet_probes[i]);
		if (failed) {
			drop_probes(packet_probes, i);
			return failed;
		}
	}
	return 0;
}

static void packet_stop(void)
{
	drop_probes(packet_probes, ARRAY_SIZE(packet_probes));
}

static const struct fault packet_faults[] = { { "packet_stamp", &packet_fault }, {} };

const struct part packet_part = { .faults = packet_faults, .start = packet_start, .stop = packet_stop };

/* It is `amount` microseconds later than it is, for as long as an ACK is looked at. */
static int at_ack(struct kprobe *probe, struct pt_regs *regs)
{
	struct tcp_sock *tp = tcp_sk((struct sock *)regs->di);

	if (receive_fault && tp->packets_out && due())
		tp->tcp_mstamp += amount;
	return 0;
}

static struct kprobe receive_probe;

static int receive_start(void *apply)
{
	receive_fault = apply;
	memset(&receive_probe, 0, sizeof(receive_probe));
	receive_probe.symbol_name = "tcp_ack";
	receive_probe.pre_handler = at_ack;
	return register_kprobe(&receive_probe);
}

static void receive_stop(void)
{
	unregister_kprobe(&receive_probe);
}

static const struct fault receive_faults[] = { { "now", &receive_fault }, {} };

const struct part receive_part = { .faults = receive_faults, .start = receive_start, .stop = receive_stop };
