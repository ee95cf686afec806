"""What an inbox holds, its bytes, and the operations that change it."""
