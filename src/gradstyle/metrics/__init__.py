"""How near pictures are, whom they show, and what faces in them do: figures that directions and evaluation share."""
