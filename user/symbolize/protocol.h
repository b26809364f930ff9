/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the symbolizer's client (root) and its worker (nobody) say to each other.
 *
 * Two SOCK_SEQPACKET pairs. On the request channel the client asks and the worker replies, in order; many
 * requests may be under way. On the ask channel the worker, in the middle of a request, asks for what it
 * may not get by itself (a file, memory) and waits for the answer. One message is one packet: a struct
 * message, then a fixed body, then bytes. Same machine, same binary: host byte order.
 *
 * Neither side believes the other's lengths: everything behind the header is read with a message_reader.
 */
#ifndef HOLDUP_SYMBOLIZE_PROTOCOL_H
#define HOLDUP_SYMBOLIZE_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "events.h"

enum {
	MESSAGE_MAX_BYTES = 65536,
	/* Program counters in one MESSAGE_SYMBOLIZE, addresses in one MESSAGE_NAME_ADDRESSES. */
	MESSAGE_MAX_ITEMS = 512,
	/* Frames one program counter may stand for: inlined ones and the function itself. */
	MESSAGE_MAX_INLINED = 32,
	MESSAGE_MAX_FRAMES = 4000,
	/* Bytes of one string, without a NUL. */
	MESSAGE_MAX_TEXT = 1023,
	MESSAGE_MAX_BUILD_ID = 64,
	MESSAGE_MAX_MEMORY = 32768,
	/* Mappings of one process that both sides keep. */
	MAPPING_MAX = 65536,
	PROCESS_MAX = 1024,
	/* Probe sites of one file, and of one process. */
	PROBE_SITE_FILE_MAX = 256,
	PROBE_SITE_MAX = 4096,
	/* Bytes of a symbol with its version, without a NUL. */
	PROBE_SITE_NAME_MAX = 127,
};

enum message_type {
	/* Client to worker. The first two have no reply. */
	MESSAGE_MAPPINGS = 1,
	MESSAGE_FORGET,
	MESSAGE_UNWIND,
	MESSAGE_SYMBOLIZE,
	MESSAGE_IDENTIFY_LIBC,
	MESSAGE_NAME_ADDRESSES,
	MESSAGE_FIND_PROBE_SITES,
	/* Worker to client. */
	MESSAGE_READY, /* once, when the sandbox is closed */
	MESSAGE_UNWOUND,
	MESSAGE_SYMBOLS, /* one for each program counter, in order */
	MESSAGE_LIBC,
	MESSAGE_DATA_SYMBOL, /* one for each address, in order */
	MESSAGE_PROBE_SITES, /* one for each file that has some, and an empty last one */
	/* The ask channel: worker to client, and back. */
	MESSAGE_ASK_MODULE,
	MESSAGE_ASK_DEBUG_FILE,
	MESSAGE_ASK_PERF_MAP,
	MESSAGE_ASK_MEMORY,
	MESSAGE_ANSWER,
	/* Client to spawner, and back. */
	MESSAGE_SPAWN,
	MESSAGE_SPAWNED,
};

struct message {
	uint32_t type; /* enum message_type */
	uint32_t tgid;
	uint64_t id; /* a reply carries its request's */
};

enum message_mapping_kind {
	MESSAGE_MAPPING_ANONYMOUS = 0,
	MESSAGE_MAPPING_FILE = 1,
	MESSAGE_MAPPING_VDSO = 2,
	MESSAGE_MAPPING_LIBC = 3, /* a file whose name is that of a C library */
};

struct message_mapping {
	uint64_t start, end, offset;
	uint64_t device, inode;
	uint32_t flags; /* enum event_mapping_flags */
	uint32_t kind; /* enum message_mapping_kind */
};

/* MAPPINGS: followed by `count` struct message_mapping, by ascending address. */
struct message_mappings {
	uint32_t first; /* 1: forget the process's old list */
	uint32_t count;
};

/* UNWIND: followed by `length` bytes of stack from regs.sp up. */
struct message_unwind {
	struct event_regs regs;
	uint32_t flags; /* EVENT_THREAD_HAS_REGS */
	uint32_t max_frames;
	uint32_t length;
	uint32_t reserved;
};

enum message_pc_flags {
	/* The pc is where the thread is, not a return address: look up the pc itself, not pc - 1. */
	MESSAGE_PC_EXACT = 1 << 0,
	/* Only in answers: it was searched for on the stack, or reached by way of one that was. */
	MESSAGE_PC_GUESSED = 1 << 1,
};

struct message_pc {
	uint64_t pc;
	uint32_t flags; /* enum message_pc_flags */
	uint32_t reserved;
};

/* UNWOUND: followed by `count` struct message_pc, innermost first. */
struct message_unwound {
	uint32_t end; /* enum event_frames_end */
	uint32_t count;
};

/* SYMBOLIZE: followed by `count` struct message_pc. */
struct message_symbolize {
	uint32_t count;
	uint32_t want_lines;
};

/* SYMBOLS: followed by the build-id, then `count` times a struct message_frame and its two texts. */
struct message_symbols {
	uint32_t index; /* of the pc in the request */
	uint32_t count;
	uint32_t build_id_bytes;
	uint32_t reserved;
};

struct message_frame {
	uint64_t offset;
	uint32_t line, column;
	uint16_t flags; /* enum event_frame_flags */
	uint16_t language; /* enum event_language */
	uint16_t function_bytes, file_bytes;
};

struct message_libc {
	uint32_t kind; /* enum event_libc_kind */
	uint32_t major, minor;
	uint32_t reserved;
};

/* NAME_ADDRESSES: followed by `count` addresses. */
struct message_name_addresses {
	uint32_t count;
	uint32_t reserved;
};

/* DATA_SYMBOL: followed by the name. name_bytes 0: no symbol contains the address. */
struct message_data_symbol {
	uint32_t index;
	uint32_t name_bytes;
	uint64_t start, symbol_bytes;
};

enum message_probe_kernel_flags {
	/* Linux 6.18 and newer: nops of more than one byte are emulated as well. */
	MESSAGE_KERNEL_EMULATES_LONG_NOPS = 1 << 0,
};

struct message_find_probe_sites {
	uint32_t kernel_flags; /* enum message_probe_kernel_flags */
	uint32_t reserved;
};

/* PROBE_SITES: followed by `count` times a struct message_probe_site and its name. */
struct message_probe_sites {
	uint32_t count;
	uint32_t left_out_count; /* lock functions of the file that there was no room for */
	uint32_t is_last;
	uint32_t reserved;
};

struct message_probe_site {
	uint64_t mapping_start;
	uint64_t file_offset;
	uint32_t function; /* enum event_lock_function */
	uint32_t entry_distance_bytes;
	uint32_t return_address_offset_bytes;
	uint32_t flags; /* enum event_probe_site_flags */
	uint32_t libc_kind; /* enum event_libc_kind */
	uint32_t name_bytes;
};

/* ASK_MODULE: the file behind the mapping that starts here. */
struct message_ask_module {
	uint64_t start;
};

/* ASK_DEBUG_FILE: followed by the build-id and the file name. */
struct message_ask_debug_file {
	uint64_t start; /* of a mapping of the file whose debug information is wanted */
	uint32_t build_id_bytes;
	uint32_t name_bytes;
};

struct message_ask_memory {
	uint64_t address;
	uint32_t length; /* at most MESSAGE_MAX_MEMORY */
	uint32_t reserved;
};

/* ANSWER: a descriptor comes along when status is 0; memory follows. READY uses `status` alone. */
struct message_answer {
	int32_t status; /* 0 or a negative errno */
	uint32_t length;
};

struct message_spawned {
	int32_t pid; /* or a negative errno */
	uint32_t reserved;
};

/* A received packet. */
struct packet {
	_Alignas(8) uint8_t bytes[MESSAGE_MAX_BYTES];
	size_t length;
	int fds[2]; /* that came along, -1: none; the receiver's to close */
};

/* What was not yet read of a packet. Reading beyond the end gives false/NULL and sticks. */
struct message_reader {
	const uint8_t *next;
	size_t left;
};

/* One piece of a message to send. */
struct message_part {
	const void *bytes;
	size_t length;
};

/* A pair of channels' ends, close-on-exec. Returns 0 or a negative errno. */
int message_socketpair(int ret_fds[static 2]);

/*
 * Sends one packet: the header, then the parts (at most 4), with up to two descriptors (-1: none).
 * Returns 0, -EAGAIN when `wait` is false and there is no room, -EMSGSIZE, or another negative errno
 * (-EPIPE: the other side is gone). Never raises SIGPIPE.
 */
int message_send(int socket, const struct message *header, const struct message_part *parts,
		 size_t part_count, const int fds[static 2], bool wait);

/*
 * Receives one packet. Returns 0; -EAGAIN when `wait` is false and there is none; -EPIPE when the other
 * side is gone; -EPROTO when it was cut, shorter than a header or carried more descriptors than two.
 */
int message_receive(int socket, struct packet *ret_packet, bool wait);

/* Closes the descriptors of a packet that nobody took. */
void packet_close_fds(struct packet *packet);

/* Splits a received packet into its header and the rest. */
struct message message_open(const struct packet *packet, struct message_reader *ret_reader);

/* Copies the next `length` bytes out; false when there are fewer. */
bool message_read(struct message_reader *reader, void *ret_bytes, size_t length);
/* Points to the next `length` bytes and skips them; NULL when there are fewer. */
const void *message_skip(struct message_reader *reader, size_t length);

#endif
