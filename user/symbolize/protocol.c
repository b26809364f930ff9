/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/protocol.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PART_MAX = 4, FD_MAX = 2 };

union fd_control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(FD_MAX * sizeof(int))];
};

int message_socketpair(int ret_fds[static 2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_fds) ? -errno : 0;
}

static void attach_fds(struct msghdr *message, union fd_control *control, const int fds[static 2])
{
	int open_fds[FD_MAX];
	size_t count = 0;
	for (size_t i = 0; i < FD_MAX; i++) {
		if (fds[i] >= 0)
			open_fds[count++] = fds[i];
	}
	if (!count)
		return;
	memset(control, 0, sizeof(*control));
	message->msg_control = control;
	message->msg_controllen = CMSG_SPACE(count * sizeof(int));
	struct cmsghdr *head = CMSG_FIRSTHDR(message);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(head), open_fds, count * sizeof(int));
}

int message_send(int socket, const struct message *header, const struct message_part *parts,
		 size_t part_count, const int fds[static 2], bool wait)
{
	struct iovec vectors[1 + PART_MAX] = { { (void *)header, sizeof(*header) } };
	size_t total = sizeof(*header), used = 1;
	if (part_count > PART_MAX)
		return -EINVAL;
	for (size_t i = 0; i < part_count; i++) {
		if (!parts[i].length)
			continue;
		vectors[used++] = (struct iovec){ (void *)parts[i].bytes, parts[i].length };
		total += parts[i].length;
	}
	if (total > MESSAGE_MAX_BYTES)
		return -EMSGSIZE;
	struct msghdr message = { .msg_iov = vectors, .msg_iovlen = used };
	union fd_control control;
	attach_fds(&message, &control, fds);
	ssize_t sent;
	do
		sent = sendmsg(socket, &message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
	while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return 0;
	return errno == ECONNRESET ? -EPIPE : -errno;
}

/* Takes every descriptor that came along, so that none leaks; false when there were too many. */
static bool take_fds(struct msghdr *message, struct packet *packet)
{
	bool fits = true;
	size_t count = 0;
	for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head; head = CMSG_NXTHDR(message, head)) {
		if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
			continue;
		size_t bytes = head->cmsg_len - CMSG_LEN(0);
		for (size_t at = 0; at + sizeof(int) <= bytes; at += sizeof(int)) {
			int fd;
			memcpy(&fd, CMSG_DATA(head) + at, sizeof(fd));
			if (count < FD_MAX) {
				packet->fds[count++] = fd;
			} else {
				close(fd);
				fits = false;
			}
		}
	}
	return fits;
}

int message_receive(int socket, struct packet *ret_packet, bool wait)
{
	struct iovec vector = { ret_packet->bytes, sizeof(ret_packet->bytes) };
	union fd_control control;
	struct msghdr message = {
		.msg_iov = &vector,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ret_packet->fds[0] = ret_packet->fds[1] = -1;
	ret_packet->length = 0;
	ssize_t received;
	do
		received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
	while (received < 0 && errno == EINTR);
	if (received < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	bool fits = take_fds(&message, ret_packet);
	if (!received)
		return -EPIPE;
	if (!fits || message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ||
	    (size_t)received < sizeof(struct message)) {
		packet_close_fds(ret_packet);
		return -EPROTO;
	}
	ret_packet->length = (size_t)received;
	return 0;
}

void packet_close_fds(struct packet *packet)
{
	for (size_t i = 0; i < FD_MAX; i++) {
		if (packet->fds[i] >= 0)
			close(packet->fds[i]);
		packet->fds[i] = -1;
	}
}

struct message message_open(const struct packet *packet, struct message_reader *ret_reader)
{
	struct message header;
	memcpy(&header, packet->bytes, sizeof(header));
	*ret_reader =
		(struct message_reader){ packet->bytes + sizeof(header), packet->length - sizeof(header) };
	return header;
}

const void *message_skip(struct message_reader *reader, size_t length)
{
	if (length > reader->left) {
		reader->left = 0;
		return NULL;
	}
	const uint8_t *bytes = reader->next;
	reader->next += length;
	reader->left -= length;
	return bytes;
}

bool message_read(struct message_reader *reader, void *ret_bytes, size_t length)
{
	const void *bytes = message_skip(reader, length);
	if (bytes && length)
		memcpy(ret_bytes, bytes, length);
	return bytes;
}
