"""What only an encoder decides: bytes may change, files stay valid."""
