"""Section 3.2 in miniature: pre-train at one resolution, put a head of zeros on, fine-tune at a higher one."""
