/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/module.h"

#include <dwarf.h>
#include <elfutils/libdwelf.h>
#include <errno.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "symbolize/cfi_rule.h"
#include "symbolize/debug_file.h"
#include "symbolize/dwarf_lines.h"
#include "symbolize/elf_symbols.h"
#include "symbolize/unwind_arch.h"

#define PAGE_BYTES ((uint64_t)4096)

int image_map(int fd, size_t limit_bytes, struct image *ret_image)
{
	struct stat status;
	int err = fstat(fd, &status) ? -errno : 0;
	if (!err && (!S_ISREG(status.st_mode) || status.st_size <= 0))
		err = -EINVAL;
	if (!err && (uint64_t)status.st_size > limit_bytes)
		err = -EFBIG;
	void *bytes = MAP_FAILED;
	if (!err) {
		/* Writable, though private: libelf unpacks compressed sections by changing their headers. */
		bytes = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_NORESERVE, fd, 0);
		if (bytes == MAP_FAILED)
			err = -errno;
	}
	close(fd);
	if (!err)
		*ret_image = (struct image){ bytes, (size_t)status.st_size, true };
	return err;
}

void image_release(struct image *image)
{
	if (image->mapped)
		munmap((void *)image->bytes, image->length);
	else
		free((void *)image->bytes);
	*image = (struct image){ 0 };
}

static unsigned char native_data_encoding(void)
{
	return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB;
}

static int read_segments(struct module *module)
{
	size_t count;
	if (elf_getphdrnum(module->elf, &count))
		return -ENOEXEC;
	for (size_t i = 0; i < count && module->segment_count < SEGMENT_MAX; i++) {
		GElf_Phdr header;
		if (!gelf_getphdr(module->elf, (int)i, &header))
			return -ENOEXEC;
		if (header.p_type != PT_LOAD)
			continue;
		module->segments[module->segment_count++] = (struct segment){
			.offset = header.p_offset,
			.file_bytes = header.p_filesz,
			.address = header.p_vaddr,
			.memory_bytes = header.p_memsz,
			.executable = header.p_flags & PF_X,
		};
	}
	if (!module->segment_count)
		return -ENOEXEC;
	module->lowest_address = UINT64_MAX;
	for (size_t i = 0; i < module->segment_count; i++) {
		uint64_t address = module->segments[i].address & ~(PAGE_BYTES - 1);
		if (address < module->lowest_address)
			module->lowest_address = address;
	}
	return 0;
}

int module_open(struct image *image, struct module **ret_module)
{
	struct module *module = calloc(1, sizeof(*module));
	if (!module) {
		image_release(image);
		return -ENOMEM;
	}
	module->image = *image;
	*image = (struct image){ 0 };
	hash_table_init(&module->rules);
	elf_version(EV_CURRENT);
	module->elf = elf_memory((char *)module->image.bytes, module->image.length);
	GElf_Ehdr header;
	int err = 0;
	if (!module->elf || elf_kind(module->elf) != ELF_K_ELF || !gelf_getehdr(module->elf, &header) ||
	    header.e_machine != unwind_arch()->elf_machine || gelf_getclass(module->elf) != ELFCLASS64 ||
	    header.e_ident[EI_DATA] != native_data_encoding() ||
	    (header.e_type != ET_EXEC && header.e_type != ET_DYN))
		err = -ENOEXEC;
	if (!err)
		err = read_segments(module);
	if (err) {
		module_free(module);
		return err;
	}
	module->is_position_independent = header.e_type == ET_DYN;
	module->build_id_bytes = elf_build_id(module->elf, module->build_id);
	*ret_module = module;
	return 0;
}

struct module *module_free(struct module *module)
{
	if (!module)
		return NULL;
	cfi_rules_release(&module->rules);
	dwarf_lines_free(module->lines);
	symbol_table_free(module->functions);
	symbol_table_free(module->objects);
	debug_file_free(module->debug_file);
	if (module->eh_cfi)
		dwarf_cfi_end(module->eh_cfi);
	elf_end(module->elf);
	image_release(&module->image);
	free(module);
	return NULL;
}

size_t module_bytes(const struct module *module)
{
	return module->image.length + (module->debug_file ? debug_file_bytes(module->debug_file) : 0);
}

/*
 * The kernel maps whole pages, so a mapping may begin up to a page before its segment does and the last
 * page of one segment may be the first of the next: prefer the segment that is executable when the mapping
 * is, then any.
 */
int module_bias(const struct module *module, uint64_t start, uint64_t offset, bool executable,
		uint64_t *ret_bias)
{
	const struct segment *best = NULL;
	for (size_t i = 0; i < module->segment_count; i++) {
		const struct segment *segment = &module->segments[i];
		uint64_t first = segment->offset & ~(PAGE_BYTES - 1);
		if (offset < first || offset - first >= segment->file_bytes + (segment->offset - first))
			continue;
		if (!best || (segment->executable == executable && best->executable != executable))
			best = segment;
	}
	if (!best)
		return -ENOENT;
	*ret_bias = start - (best->address + (offset - best->offset));
	return 0;
}

Dwarf_CFI *module_eh_cfi(struct module *module)
{
	if (!module->eh_cfi_tried) {
		module->eh_cfi_tried = true;
		module->eh_cfi = dwarf_getcfi_elf(module->elf);
	}
	return module->eh_cfi;
}

bool elf_section_bytes(Elf *elf, const char *name, struct message_reader *ret_data)
{
	size_t names;
	if (elf_getshdrstrndx(elf, &names))
		return false;
	for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section));) {
		GElf_Shdr header;
		const char *its_name;
		if (!gelf_getshdr(section, &header) || header.sh_type == SHT_NOBITS)
			continue;
		its_name = elf_strptr(elf, names, header.sh_name);
		if (!its_name || strcmp(its_name, name))
			continue;
		Elf_Data *data = elf_rawdata(section, NULL);
		if (!data || !data->d_buf || !data->d_size)
			return false;
		*ret_data = (struct message_reader){ data->d_buf, data->d_size };
		return true;
	}
	return false;
}

size_t elf_build_id(Elf *elf, uint8_t ret_build_id[static MESSAGE_MAX_BUILD_ID])
{
	const void *bytes;
	ssize_t length = dwelf_elf_gnu_build_id(elf, &bytes);
	if (length <= 0 || length > MESSAGE_MAX_BUILD_ID)
		return 0;
	memcpy(ret_build_id, bytes, (size_t)length);
	return (size_t)length;
}

/* The layout of .eh_frame_hdr as binutils and lld write it (LSB core specification, 10.6.2). */
struct eh_frame_header {
	uint8_t version, eh_frame_encoding, count_encoding, table_encoding;
	int32_t eh_frame;
	uint32_t count;
};

struct eh_frame_row {
	int32_t start, entry; /* relative to the header's own address */
};

bool module_function_start(const struct module *module, uint64_t address, uint64_t *ret_start)
{
	size_t count;
	if (elf_getphdrnum(module->elf, &count))
		return false;
	GElf_Phdr where = { 0 };
	for (size_t i = 0; i < count && where.p_type != PT_GNU_EH_FRAME; i++) {
		if (!gelf_getphdr(module->elf, (int)i, &where))
			return false;
	}
	struct eh_frame_header header;
	if (where.p_type != PT_GNU_EH_FRAME || where.p_offset > module->image.length ||
	    module->image.length - where.p_offset < sizeof(header))
		return false;
	const uint8_t *bytes = module->image.bytes + where.p_offset;
	memcpy(&header, bytes, sizeof(header));
	if (header.version != 1 || header.count_encoding != DW_EH_PE_udata4 ||
	    header.table_encoding != (DW_EH_PE_datarel | DW_EH_PE_sdata4) ||
	    header.count >
		    (module->image.length - where.p_offset - sizeof(header)) / sizeof(struct eh_frame_row))
		return false;
	const uint8_t *rows = bytes + sizeof(header);
	/* The last row that starts at or below the address. */
	size_t low = 0, high = header.count;
	bool found = false;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		struct eh_frame_row row;
		memcpy(&row, rows + middle * sizeof(row), sizeof(row));
		uint64_t start = where.p_vaddr + (uint64_t)(int64_t)row.start;
		if (start <= address) {
			*ret_start = start;
			found = true;
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return found;
}
