"""What cells share: tokenizer, teacher and initial student, built once by whoever comes first."""
