// One access with the MMU off, so that stage 1 has no say in it. See physical.rs.
//
// x0 = address, x1 = value, x2 = operation; returns x0. Execution goes on at __probes_physical_end
// after a fault.

.section .text.probes.physical, "ax"
.global __probes_physical
.type __probes_physical, %function
__probes_physical:
	mrs	x3, daif
	msr	daifset, #0xf
	mrs	x4, sctlr_el1
	bic	x5, x4, #0x1			// M
	bic	x5, x5, #0x4			// C
	mov	x7, x30
	adr	x6, 1f
	add	x6, x6, x2, lsl #3
	dsb	sy
	isb
	msr	sctlr_el1, x5
	isb
	br	x6
1:	ldrb	w0, [x0]
	b	__probes_physical_end
	ldrh	w0, [x0]
	b	__probes_physical_end
	ldr	w0, [x0]
	b	__probes_physical_end
	ldr	x0, [x0]
	b	__probes_physical_end
	strb	w1, [x0]
	b	__probes_physical_end
	strh	w1, [x0]
	b	__probes_physical_end
	str	w1, [x0]
	b	__probes_physical_end
	str	x1, [x0]
	b	__probes_physical_end
	blr	x0
	b	__probes_physical_end
	ldp	x0, x1, [x0]
	b	__probes_physical_end
	ldr	w1, [x0], #4
	b	__probes_physical_end
	ldxr	w1, [x0]
	b	__probes_physical_end
.global __probes_physical_end
__probes_physical_end:
	dsb	sy
	msr	sctlr_el1, x4
	isb
	msr	daif, x3
	ret	x7
.size __probes_physical, . - __probes_physical

// x0 = address of a root table to walk: the next fetch does it. Does not return.
.global __probes_walk
.type __probes_walk, %function
__probes_walk:
	msr	daifset, #0xf
	dsb	sy
	msr	ttbr0_el1, x0
	isb
	tlbi	vmalle1
	dsb	sy
	isb
1:	b	1b
.size __probes_walk, . - __probes_walk
