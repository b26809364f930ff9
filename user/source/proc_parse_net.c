/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "source/proc_parse.h"
#include "source/scanner.h"

/* "0100007F:1538": each 32-bit word of the address as the host's integer, then the port. */
static bool take_address(struct scanner *scanner, bool v6, struct proc_address *ret_address)
{
	struct proc_address address = { .v6 = v6 };
	scanner_skip_blanks(scanner);
	for (size_t word = 0; word < (v6 ? 4u : 1u); word++) {
		struct scanner digits = scanner_of(scanner->at, 8);
		uint64_t value;
		if (scanner_left(scanner) < 8 || !scanner_number(&digits, 16, &value) ||
		    scanner_left(&digits))
			return false;
		uint32_t bits = (uint32_t)value;
		memcpy(address.bytes + 4 * word, &bits, sizeof(bits));
		scanner->at += 8;
	}
	uint64_t port;
	if (!scanner_take(scanner, ":") || !scanner_number(scanner, 16, &port) || port > UINT16_MAX)
		return false;
	address.port = (uint16_t)port;
	/* An IPv4 peer of an IPv6 socket. */
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	if (v6 && !memcmp(address.bytes, mapped, sizeof(mapped))) {
		address.v6 = false;
		memcpy(address.bytes, address.bytes + sizeof(mapped), 4);
		memset(address.bytes + 4, 0, sizeof(mapped));
	}
	*ret_address = address;
	return true;
}

int proc_parse_socket(const char *line, size_t length, bool v6, struct proc_socket *ret_socket)
{
	struct scanner scanner = scanner_of(line, length);
	struct proc_socket socket = { 0 };
	uint64_t slot, state;
	scanner_skip_blanks(&scanner);
	if (!scanner_number(&scanner, 10, &slot) || !scanner_take(&scanner, ":") ||
	    !take_address(&scanner, v6, &socket.local) || !take_address(&scanner, v6, &socket.remote))
		return -EPROTO;
	scanner_skip_blanks(&scanner);
	if (!scanner_number(&scanner, 16, &state))
		return -EPROTO;
	/* Queues, timer, retransmits, user and timeout stand between the state and the inode. */
	for (int i = 0; i < 5; i++)
		if (!scanner_skip_word(&scanner))
			return -EPROTO;
	scanner_skip_blanks(&scanner);
	if (!scanner_number(&scanner, 10, &socket.inode))
		return -EPROTO;
	socket.state = (unsigned)state;
	*ret_socket = socket;
	return 0;
}

bool proc_address_equal(const struct proc_address *a, const struct proc_address *b)
{
	return a->v6 == b->v6 && a->port == b->port && !memcmp(a->bytes, b->bytes, a->v6 ? 16 : 4);
}

static bool is_any(const struct proc_address *address)
{
	static const uint8_t zeroes[16];
	return !address->port && !memcmp(address->bytes, zeroes, address->v6 ? 16 : 4);
}

enum { ADDRESS_TEXT_BYTES = INET6_ADDRSTRLEN + 9 };

static const char *address_text(const struct proc_address *address, char buffer[static ADDRESS_TEXT_BYTES])
{
	char name[INET6_ADDRSTRLEN] = "";
	inet_ntop(address->v6 ? AF_INET6 : AF_INET, address->bytes, name, sizeof(name));
	snprintf(buffer, ADDRESS_TEXT_BYTES, address->v6 ? "[%s]:%u" : "%s:%u", name, address->port);
	return buffer;
}

void proc_socket_text(const char *protocol, const struct proc_socket *socket,
		      char ret_text[static PROC_SOCKET_TEXT_BYTES])
{
	/* TCP_* of include/net/tcp_states.h. */
	static const char *const names[] = { NULL,	    "ESTABLISHED", "SYN_SENT",	"SYN_RECV",
					     "FIN_WAIT1",   "FIN_WAIT2",   "TIME_WAIT", "CLOSE",
					     "CLOSE_WAIT",  "LAST_ACK",	   "LISTEN",	"CLOSING",
					     "NEW_SYN_RECV" };
	/* A UDP socket only is or isn't connected, which the arrow says already. */
	bool tcp = !strcmp(protocol, "tcp");
	const char *name =
		tcp && socket->state < sizeof(names) / sizeof(*names) ? names[socket->state] : NULL;
	char local[ADDRESS_TEXT_BYTES], remote[ADDRESS_TEXT_BYTES];
	bool connected = !is_any(&socket->remote);
	snprintf(ret_text, PROC_SOCKET_TEXT_BYTES, "%s %s%s%s%s%s%s", protocol,
		 address_text(&socket->local, local), connected ? " -> " : "",
		 connected ? address_text(&socket->remote, remote) : "", name ? " (" : "", name ? name : "",
		 name ? ")" : "");
}

int proc_parse_unix_socket(const char *line, size_t length, struct proc_unix_socket *ret_socket)
{
	/* __SO_ACCEPTCON of include/linux/net.h: listen() was called. */
	enum { FLAG_LISTENS = 0x10000 };
	struct scanner scanner = scanner_of(line, length);
	uint64_t flags, inode;
	/* The first column is a kernel address and a colon, then reference count and protocol. */
	if (!scanner_skip_word(&scanner) || scanner.at[-1] != ':' || !scanner_skip_word(&scanner) ||
	    !scanner_skip_word(&scanner))
		return -EPROTO;
	scanner_skip_blanks(&scanner);
	if (!scanner_number(&scanner, 16, &flags) || !scanner_skip_word(&scanner) ||
	    !scanner_skip_word(&scanner))
		return -EPROTO;
	scanner_skip_blanks(&scanner);
	if (!scanner_number(&scanner, 10, &inode))
		return -EPROTO;
	/* One blank, then the name as it is: it may begin with blanks of its own. */
	scanner_take(&scanner, " ");
	size_t name_bytes = scanner_left(&scanner);
	if (name_bytes >= sizeof(ret_socket->name))
		name_bytes = sizeof(ret_socket->name) - 1;
	ret_socket->inode = inode;
	ret_socket->listens = flags & FLAG_LISTENS;
	memcpy(ret_socket->name, scanner.at, name_bytes);
	ret_socket->name[name_bytes] = '\0';
	return 0;
}
