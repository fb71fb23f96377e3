"""What customers use: sessions, signing, and offline checks of receipts and ledgers."""
