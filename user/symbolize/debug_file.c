/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/debug_file.h"

#include <elfutils/libdwelf.h>
#include <errno.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
	MINI_MAX_BYTES = 64 << 20,
	LZMA_MEMORY_MAX_BYTES = 64 << 20,
	DEBUG_MAX_BYTES = 480 << 20,
};

struct debug_file {
	Dwarf *own; /* of the module's own ELF */
	struct image image; /* the separate file */
	Elf *elf;
	Dwarf *dwarf;
	struct image alternate_image; /* dwz's common file, for own or separate */
	Elf *alternate_elf;
	Dwarf *alternate;
	struct image mini_image;
	Elf *mini;
	bool own_tried, separate_tried, dwarf_tried, mini_tried;
};

static struct debug_file *get(struct module *module)
{
	if (!module->debug_file_tried) {
		module->debug_file_tried = true;
		module->debug_file = calloc(1, sizeof(*module->debug_file));
	}
	return module->debug_file;
}

static uint32_t checksum(const struct image *image)
{
	uLong crc = crc32(0, NULL, 0);
	for (size_t at = 0; at < image->length;) {
		size_t piece = image->length - at < (1 << 30) ? image->length - at : (1 << 30);
		crc = crc32(crc, image->bytes + at, (uInt)piece);
		at += piece;
	}
	return (uint32_t)crc;
}

/* A debug file is the module's if both have the same build-id, or without one, if the checksum agrees. */
static bool belongs(const struct module *module, Elf *elf, const struct image *image,
		    const uint32_t *wanted_crc)
{
	uint8_t build_id[MESSAGE_MAX_BUILD_ID];
	size_t length = elf_build_id(elf, build_id);
	if (length && module->build_id_bytes)
		return length == module->build_id_bytes && !memcmp(build_id, module->build_id, length);
	return wanted_crc && checksum(image) == *wanted_crc;
}

static void open_separate(struct module *module, struct debug_file *file, struct ask *ask, uint64_t start)
{
	GElf_Word crc = 0;
	const char *link = dwelf_elf_gnu_debuglink(module->elf, &crc);
	const char *name = link && !strchr(link, '/') && strlen(link) <= MESSAGE_MAX_TEXT ? link : "";
	if (!module->build_id_bytes && !*name)
		return;
	int fd = ask_debug_file(ask, start, module->build_id, module->build_id_bytes, name);
	if (fd < 0 || image_map(fd, DEBUG_MAX_BYTES, &file->image))
		return;
	file->elf = elf_memory((char *)file->image.bytes, file->image.length);
	if (file->elf && elf_kind(file->elf) == ELF_K_ELF &&
	    belongs(module, file->elf, &file->image, *name ? &crc : NULL))
		return;
	elf_end(file->elf);
	file->elf = NULL;
	image_release(&file->image);
}

Elf *debug_file_elf(struct module *module, struct ask *ask, uint64_t start)
{
	struct debug_file *file = get(module);
	if (!file)
		return NULL;
	if (!file->separate_tried) {
		file->separate_tried = true;
		open_separate(module, file, ask, start);
	}
	return file->elf;
}

/* dwz moves what several debug files have in common into another, named by .gnu_debugaltlink. */
static void open_alternate(struct debug_file *file, Dwarf *dwarf, struct ask *ask, uint64_t start)
{
	const char *name;
	const void *build_id;
	ssize_t length = dwelf_dwarf_gnu_debugaltlink(dwarf, &name, &build_id);
	if (length <= 0 || length > MESSAGE_MAX_BUILD_ID || file->alternate)
		return;
	int fd = ask_debug_file(ask, start, build_id, (size_t)length, "");
	if (fd < 0 || image_map(fd, DEBUG_MAX_BYTES, &file->alternate_image))
		return;
	file->alternate_elf = elf_memory((char *)file->alternate_image.bytes, file->alternate_image.length);
	uint8_t its_id[MESSAGE_MAX_BUILD_ID];
	if (file->alternate_elf && elf_build_id(file->alternate_elf, its_id) == (size_t)length &&
	    !memcmp(its_id, build_id, (size_t)length))
		file->alternate = dwarf_begin_elf(file->alternate_elf, DWARF_C_READ, NULL);
	if (file->alternate)
		dwarf_setalt(dwarf, file->alternate);
}

static Dwarf *own_dwarf(struct module *module, struct debug_file *file)
{
	if (!file->own_tried) {
		file->own_tried = true;
		file->own = dwarf_begin_elf(module->elf, DWARF_C_READ, NULL);
	}
	return file->own;
}

static Dwarf *separate_dwarf(struct module *module, struct debug_file *file, struct ask *ask, uint64_t start)
{
	Elf *elf = debug_file_elf(module, ask, start);
	if (!file->dwarf_tried) {
		file->dwarf_tried = true;
		file->dwarf = elf ? dwarf_begin_elf(elf, DWARF_C_READ, NULL) : NULL;
	}
	return file->dwarf;
}

Dwarf *debug_file_dwarf(struct module *module, struct ask *ask, uint64_t start)
{
	struct debug_file *file = get(module);
	struct message_reader ignored;
	if (!file)
		return NULL;
	Dwarf *dwarf;
	if (elf_section_bytes(module->elf, ".debug_info", &ignored) ||
	    elf_section_bytes(module->elf, ".zdebug_info", &ignored))
		dwarf = own_dwarf(module, file);
	else
		dwarf = separate_dwarf(module, file, ask, start);
	if (dwarf)
		open_alternate(file, dwarf, ask, start);
	return dwarf;
}

Dwarf_CFI *debug_file_cfi(struct module *module, struct ask *ask, uint64_t start)
{
	struct debug_file *file = get(module);
	struct message_reader ignored;
	if (!file)
		return NULL;
	if (elf_section_bytes(module->elf, ".debug_frame", &ignored)) {
		Dwarf *dwarf = own_dwarf(module, file);
		return dwarf ? dwarf_getcfi(dwarf) : NULL;
	}
	Dwarf *dwarf = separate_dwarf(module, file, ask, start);
	return dwarf ? dwarf_getcfi(dwarf) : NULL;
}

/* Unpacks an xz stream into memory of bounded size. */
static bool unpack(const struct message_reader *packed, struct image *ret_image)
{
	lzma_stream stream = LZMA_STREAM_INIT;
	if (lzma_stream_decoder(&stream, LZMA_MEMORY_MAX_BYTES, 0) != LZMA_OK)
		return false;
	size_t capacity = packed->left * 4 + 4096, length = 0;
	uint8_t *bytes = NULL;
	lzma_ret result = LZMA_OK;
	stream.next_in = packed->next;
	stream.avail_in = packed->left;
	while (result == LZMA_OK && length < MINI_MAX_BYTES) {
		if (capacity > MINI_MAX_BYTES)
			capacity = MINI_MAX_BYTES;
		uint8_t *grown = realloc(bytes, capacity);
		if (!grown)
			break;
		bytes = grown;
		stream.next_out = bytes + length;
		stream.avail_out = capacity - length;
		result = lzma_code(&stream, LZMA_FINISH);
		length = capacity - stream.avail_out;
		capacity *= 2;
	}
	lzma_end(&stream);
	if (result != LZMA_STREAM_END || !length) {
		free(bytes);
		return false;
	}
	*ret_image = (struct image){ bytes, length, false };
	return true;
}

Elf *debug_file_mini(struct module *module)
{
	struct debug_file *file = get(module);
	struct message_reader packed;
	if (!file || file->mini_tried)
		return file ? file->mini : NULL;
	file->mini_tried = true;
	if (!elf_section_bytes(module->elf, ".gnu_debugdata", &packed) || !unpack(&packed, &file->mini_image))
		return NULL;
	file->mini = elf_memory((char *)file->mini_image.bytes, file->mini_image.length);
	if (file->mini && elf_kind(file->mini) != ELF_K_ELF) {
		elf_end(file->mini);
		file->mini = NULL;
	}
	return file->mini;
}

size_t debug_file_bytes(const struct debug_file *file)
{
	return file->image.length + file->alternate_image.length + file->mini_image.length;
}

struct debug_file *debug_file_free(struct debug_file *file)
{
	if (!file)
		return NULL;
	dwarf_end(file->own);
	dwarf_end(file->dwarf);
	dwarf_end(file->alternate);
	elf_end(file->elf);
	elf_end(file->alternate_elf);
	elf_end(file->mini);
	image_release(&file->image);
	image_release(&file->alternate_image);
	image_release(&file->mini_image);
	free(file);
	return NULL;
}
