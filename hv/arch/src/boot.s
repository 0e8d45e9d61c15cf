/*
 * From the loader of the board to Rust at EL2 (arm64 boot protocol, Linux
 * Documentation/arch/arm64/booting.rst): x0 = device tree, MMU and data cache off.
 */
	.section .text.head, "ax"
	.global bulkhead_head
bulkhead_head:
	b	primary
	.long	0
	.quad	0			/* text_offset: the board's load address is a multiple of 2 MiB */
	.quad	0			/* image_size: written by the packer */
	.quad	0xA			/* flags: little-endian, 4 KiB pages, anywhere in memory */
	.quad	0
	.quad	0
	.quad	0
	.ascii	"ARM\x64"
	.long	0

	/* Address of the CPU's stack end in x1, index in x0. Clobbers x2. */
	.macro stack_of_cpu
	adrp	x1, __stacks_start
	add	x1, x1, :lo12:__stacks_start
	ldr	x2, =__stack_stride
	madd	x1, x0, x2, x1
	add	x1, x1, x2
	.endm

	/* Invalidates data-cache lines of [x1, x2): what firmware left must not be written back over
	   what is stored with the cache off (Arm ARM D7.5.11). Clobbers x3, x4. */
	.macro invalidate
	mrs	x3, ctr_el0
	ubfx	x3, x3, #16, #4
	mov	x4, #4
	lsl	x4, x4, x3
1:	dc	ivac, x1
	add	x1, x1, x4
	cmp	x1, x2
	b.lo	1b
	dsb	sy
	.endm

primary:
	msr	daifset, #0xF
	mrs	x1, CurrentEL
	cmp	x1, #(2 << 2)
	b.ne	halt			/* not EL2: no console is known to be ours */
	mov	x20, x0
	adr	x21, bulkhead_head

	adrp	x1, __data_start
	adrp	x2, __el2_end
	invalidate
	adrp	x1, __data_start
	adrp	x2, __el2_end
2:	stp	xzr, xzr, [x1], #16
	cmp	x1, x2
	b.lo	2b

	adrp	x1, __data_start
	adrp	x2, __data_copied
	add	x2, x2, :lo12:__data_copied
	adrp	x3, __data_load
	add	x3, x3, :lo12:__data_load
	b	4f
3:	ldp	x4, x5, [x3], #16
	stp	x4, x5, [x1], #16
4:	cmp	x1, x2
	b.lo	3b

	adrp	x1, bulkhead_vectors
	add	x1, x1, :lo12:bulkhead_vectors
	msr	vbar_el2, x1
	mov	x0, #0
	stack_of_cpu
	mov	sp, x1
	isb

	/* MMU off: console, link address, counter, blueprint, firmware's device tree. */
	mov	x0, x20
	mov	x1, x21
	bl	bulkhead_early

	adrp	x1, __data_start
	adrp	x2, __el2_end
	dsb	sy
	invalidate
	bl	mmu_on
	bl	bulkhead_main
	b	halt

	/* A secondary CPU, by PSCI CPU_ON or from the spin-table. */
	.global bulkhead_secondary_head
bulkhead_secondary_head:
	msr	daifset, #0xF
	adrp	x1, bulkhead_vectors
	add	x1, x1, :lo12:bulkhead_vectors
	msr	vbar_el2, x1
	isb
	bl	mmu_on
	mrs	x0, mpidr_el1
	and	x0, x0, #0xFF		/* boards' affinity 0 is the CPU's index; the compiler checks it */
	stack_of_cpu
	mov	sp, x1
	bl	bulkhead_secondary
halt:
	wfe
	b	halt

	/* Turns on the stage-1 MMU and the caches of EL2 with the table that the compiler built. */
mmu_on:
	adrp	x1, __el2_end		/* the blueprint */
	ldr	x1, [x1, #EL2_ROOT]
	msr	ttbr0_el2, x1
	ldr	x1, =MAIR_VALUE
	msr	mair_el2, x1
	ldr	x1, =TCR_VALUE
	mrs	x2, id_aa64mmfr0_el1
	and	x2, x2, #7		/* PARange: no output address above 48 bits with 4 KiB tables */
	cmp	x2, #5
	mov	x3, #5
	csel	x2, x2, x3, ls
	orr	x1, x1, x2, lsl #16
	msr	tcr_el2, x1
	dsb	ish
	tlbi	alle2
	ic	iallu
	dsb	nsh
	isb
	ldr	x1, =SCTLR_VALUE
	msr	sctlr_el2, x1
	isb
	ret
	.ltorg
