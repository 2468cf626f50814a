"""What people are told of, and the child process that tells them."""
