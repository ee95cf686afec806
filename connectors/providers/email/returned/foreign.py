"""What servers say in other languages than English, for `cause.py`: by cause, as patterns.

As there, every pattern has bounds on what may stand between its words.
"""

_SENDER = (
    r"(?:exp[ée]diteur|absender|remitente|mittente|remetente|afzender|avsändar|afsender|nadawc|odes[íi]latel|felad[óo]|"
    r"gönderen|отправител|送信者|差出人|发件人|寄件者|보낸 ?사람|발신자)"
)
SENDER_REFUSED = (
    r"absender-?(?:adresse|domain|domäne)|(?:adresse|domaine) (?:de |d')(?:l')?(?:exp[ée]diteur|envoyeur)",
    r"(?:direcci[oó]n|dominio) del remitente|(?:endere[cç]o|dom[íi]nio) do remetente",
    r"(?:indirizzo|dominio) del mittente|adres van de afzender|compte d'(?:envoi|exp[ée]dition)",
    _SENDER + r"\w*[^.\n:@,!]{0,30}?(?:inconnu|inexist|inesist|introuvable|n'exist|refus|rejet|"
    r"non (?:valid|esist|autor|trouv|reconnu)|chius|cancellat|eliminat|удал|注销|geschlossen|gel[öo]scht|"
    r"inv[áa]lid|unbekannt|ung[üu]ltig|existiert|abgelehnt|nicht (?:gefunden|bekannt|erlaubt|zugelassen)|sconosc|"
    r"descon|no (?:existe|v[áa]lid)|n[aã]o (?:existe|autor)|rechaz|rejeit|rifiut|onbekend|okänd|ukendt|neznám|"
    r"nieznan|ismeretlen|неизвест|не (?:существует|найден)|отклон|不存在|无效|不明|存在しま|拒)",
    r"(?:unbekannte|ung[üu]ltige|neznám|nieznan|okänd|ukendt|неизвестн)\w* " + _SENDER,
    r"(?:адрес|домен)\w* отправителя|送信元(?:ドメイン|アドレス|メール)|发件人(?:地址|域名|邮箱)",
)
LATER = (
    r"vor[üu]bergehend|momentan|temporair|temporal|tempor[aá]ri|temporane|tijdelijk|временно|一時的|暂时|暫時|일시적",
    r"sp[äa]ter|plus tard|m[áa]s tarde|pi[ùu] tardi|mais tarde|позже|稍后|稍後",
)
BLOCKED = (r"ip-?adresse?|(?:adresse|direcci[oó]n|endere[cç]o|indirizzo) ip\b",)
FULL = (
    r"いっぱい|一杯|容量|已满|已滿|空间不足|空間不足|용량|가득|przepełnion|skrzynk\w+ (?:\w+ ){0,3}pełn|переполнен",
    r"bo[iî]te[^.\n]{0,40}?pleine|(?:quota|cuota|cota)\b[^.\n]{0,40}?(?:d[ée]pass|atteint|exced|superad|ultrapass)",
    r"d[ée]passement (?:de |du )?quota|exced\w+[^.\n]{0,30}?\b(?:cuota|cota)\b",
    r"(?:postfach|mailbox)\b[^.\n]{0,40}?(?:\bvoll\b|[üu]ber)|postfach-?(?:limit|gr[öo](?:ß|ss)e)",
    r"zu ?viele (?:e-?)?mails|speicher\w* (?:ist )?(?:ersch[öo]pft|voll)|quota superat|недостаточно места",
    r"(?:espace|espacio|espaço|spazio)\b[^.\n]{0,20}?(?:insuffis|insufic|esaurit)",
    r"(?:speicher\w*|kontingent|quota)[^.\n]{0,30}?[üu]ber(?:schritten|f[üu]llt)",
    r"(?:buz[oó]n|casilla)[^.\n]{0,40}?llen|casella[^.\n]{0,40}?piena|caixa[^.\n]{0,40}?cheia",
    r"(?:postvak|postbus|mailbox|inbox)\b[^.\n]{0,30}?\bvol\b",
    r"(?:brevlåda|inkorg|postkasse|postboks|innboks|indbakke)\w*[^.\n]{0,30}?\b(?:full|fuld|fyldt)",
    r"postilaatikko\w*[^.\n]{0,30}?täy(?:nnä|si)|schránk\w+[^.\n]{0,30}?pln",
    r"postafiók\w*[^.\n]{0,30}?(?:megtelt|tele\b)",
    r"(?:posta kutusu|kota)\w*[^.\n]{0,30}?(?:dolu|dolmuş|aş\wl)|квот\w+[^.\n]{0,30}?превыш|превыш\w+[^.\n]{0,30}?квот",
    r"صندوق[^.\n]{0,30}?ممتلئ|תיבת?[^.\n]{0,30}?מלאה|γραμματοκιβώτιο[^.\n]{0,30}?(?:γεμάτο|πλήρες)",
    r"hộp thư[^.\n]{0,20}?đầy|kotak (?:surat|masuk)[^.\n]{0,20}?penuh|กล่อง[^.\n]{0,20}?เต็ม",
)
TOO_BIG = (
    r"nachricht[^.\n]{0,30}?zu gro(?:ß|ss)|message[^.\n]{0,30}?trop (?:volumineux|gros|grand)",
    r"mensaje[^.\n]{0,30}?demasiado grande|mensagem[^.\n]{0,30}?(?:muito|demasiado) grande",
    r"messaggio[^.\n]{0,30}?troppo grande",
)
HOST_UNKNOWN = (
    r"(?:domain|dom[äa]ne|zielrechner|hostname)\b[^.\n]{0,40}?(?:existiert nicht|nicht gefunden|unbekannt)",
    r"(?:domaine|h[ôo]te)\b[^.\n]{0,40}?(?:n'existe (?:pas|plus)|inexistant|inconnu|introuvable)",
    r"dom[íi]nio\b[^.\n]{0,40}?(?:no existe|non esiste|n[aã]o existe|ine[xs]istente|desconoc|desconhec|sconosc)",
    r"домен\w*[^.\n]{0,30}?не (?:существует|найден)|ドメイン[^.\n]{0,20}?(?:存在しま|見つかりません)",
    r"域名[^.\n]{0,10}?不存在",
)
USER_UNKNOWN = (
    r"存在しま|宛先不明|(?:ユーザー?|受信者|アドレス)[がはの]?不明|見つかりません|アドレスが(?:無効|間違)|不存在",
    r"找不到|无此|無此|查无|没有此|(?:帐号|账号|用户|地址)无效|존재하지|찾을 수 없|없는 (?:사용자|주소|메일)",
    r"không tồn tại",
    r"не (?:существует|найден|зарегистрирован|удалось найти)|неизвестн\w+ (?:пользовател|получател|адрес)",
    r"такого (?:пользовател|адрес|ящик)\w* (?:нет|не)|нет так\w+ (?:пользовател|адрес|ящик)",
    r"недействительн\w+ (?:получател|адрес)|невідом\w+ (?:користувач|одержувач)|користувач\w* не (?:існує|знайден)",
    r"no existe (?:el|la|es[ea]|est[ea]) (?:usuari|destinatari|cuenta|buz[oó]n|direcci|correo)",
    r"no se (?:\w+ )?encontr\w+[^.\n]{0,40}?(?:direcci|usuario|destinatari|correo)",
    r"(?:cuenta|buz[oó]n|casilla)\b[^.\n]{0,40}?(?:no existe|inexistente|cancelad|eliminad|dad[ao] de baja)",
    r"(?<![a-z])direcci[oó]n (?:\w+ ){0,3}inv[áa]lida",
    r"(?:usu[aá]rio|destinat[aá]rio|conta|endere[cç]o)\b[^.\n]{0,40}?desconhecid",
    r"(?:utilizator|destinatar)\w* (?:necunoscut|inexistent)",
    r"(?:adresse|compte|bo[iî]te|utilisateur|destinataire)\b[^.\n]{0,40}?n'existe plus",
    r"(?:compte|bo[iî]te)\b[^.\n]{0,30}?(?:ferm[ée]|cl[ôo]tur[ée]|supprim[ée])",
    r"(?<![a-zäöü])(?:e-?mail-?)?(?:adresse|empf(?:ä|ae)nger\w*|benutzer)\b[^.\n]{0,30}?(?:ung[üu]ltig|gibt es nicht)",
    r"(?<![a-zäöü])(?:e-?mail-?)?(?:adresse|empf(?:ä|ae)nger\w*|benutzer)\b[^.\n]{0,30}?nicht (?:mehr )?(?:bekan|gül)",
    r"(?:empf(?:ä|ae)nger|benutzer|postfach|konto)\b[^.\n]{0,30}?(?:nicht (?:mehr )?vorhanden|geschlossen)",
    r"(?:utilisateur|destinataire|adresse|compte)\b[^.\n]{0,30}?non (?:trouv|reconnu)",
    r"(?:casella|account|utente|indirizzo)\b[^.\n]{0,30}?(?:chius[ao]|cancellat|eliminat)",
    r"caixa (?:postal|de correio)\b[^.\n]{0,30}?inexist|(?<![a-z])endere[cç]o (?:\w+ ){0,3}inv[áa]lido",
    r"(?:ящик|пользовател|получател|адресат|аккаунт)\w*[^.\n]{0,20}?(?:удал[её]н|неизвест)",
    r"nieprawidłow\w+ adres odbiorc|böyle bir (?:kullan|adres|hesap)\w* yok",
    r"(?:mottagar|användar|modtager|bruger|bruker)\w*[^.\n]{0,20}?(?:okänd|ukendt|ukjent)",
    r"アドレス[はが]?[^。\n]{0,10}?使(?:われて|用されて)(?:いな|いませ|おら|おりませ)|(?:ユーザー?|受信者)[はが]い(?:ません|ない)",
    r"(?:用户|帐号|账号|邮箱)[^。\n]{0,4}?注销|收件人地址错误",
    r"(?:kein solche\w*|gibt (?:es )?keine?n?) (?:benutzer|nutzer|empf|adress|postfach|konto)",
    r"(?:konto|postfach|benutzer)\b[^.\n]{0,30}?gel[öo]scht|unbekannte[rn]? (?:empf|benutzer|adress|nutzer)",
    r"(?:gebruiker|ontvanger|adres)\b[^.\n]{0,30}?onbekend|onbekende? (?:gebruiker|ontvanger|adres)|bestaat niet",
    r"(?:okänd|ukendt|ukjent)\w* (?:mottag|användar|adress|modtag|bruger|bruker|mottak)",
    r"(?:det gick inte|gick ej) att hitta[^.\n]{0,40}?(?:adress|mottagar)|fin(?:ns inte|des ikke|nes ikke)",
    r"eksisterer ikke",
    r"ei ole olemassa|(?:käyttäjää|osoitetta|vastaanottajaa)\b[^.\n]{0,40}?ei löydy",
    r"tuntematon (?:käyttäjä|vastaanottaja)",
    r"nie istnieje|nie znaleziono[^.\n]{0,40}?adres|nieznany (?:użytkownik|odbiorca|adres)",
    r"nie ma takiego (?:użytkownik|adres|kont)",
    r"neznám\w+ (?:uživatel|příjemc|adres)|(?:uživatel|příjemce|adresa|schránka|účet)\b[^.\n]{0,30}?neexistuje",
    r"ismeretlen (?:felhasznál|címzett)|(?:felhasználó|címzett)\w*[^.\n]{0,30}?nem létezik",
    r"(?:kullan\wc\w|al\wc\w|adres|hesap)\w*[^.\n]{0,30}?(?:bulunamad|bilinmiyor|mevcut değil)",
    r"(?:pengguna|penerima|alamat)\b[^.\n]{0,30}?tidak (?:dikenal|ditemukan|ada)|ไม่พบ(?:ผู้ใช้|ผู้รับ|ที่อยู่)",
    r"(?:المستخدم|المستلم|العنوان|الحساب)[^.\n]{0,30}?غير (?:موجود|معروف|صالح)",
    r"(?:המשתמש|הנמען|הכתובת)[^.\n]{0,30}?(?:לא קיים|לא קיימת|לא נמצא)",
    r"(?:χρήστης|παραλήπτης|διεύθυνση)[^.\n]{0,30}?(?:δεν (?:υπάρχει|βρέθηκε)|άγνωστ)|άγνωστ\w+ (?:χρήστη|παραλήπτη)",
)
ABSENT = (
    r"(?:ich )?bin (?:im urlaub|nicht im b[üu]ro|abwesend)|nicht im b[üu]ro|message d'absence|r[ée]ponse d'absence",
    r"(?:je suis )?en cong[ée]s|cong[ée]s\b|fuera de (?:la )?oficina|ausente\b|aus[êe]ncia\b",
    r"estoy (?:de vacaciones|fuera)|(?:estou )?de f[ée]rias|fuori (?:sede|ufficio)|in ferie",
    r"niet (?:aanwezig|op kantoor)|frånvarande|ute från kontoret|ikke (?:på kontoret|til stede)",
    r"отсутству|меня нет|nieobecno|poza biurem",
    r"mimo kancel|távollét|ofis d\w\w\wnda|外出|休暇|假期|خارج المكتب",
)
"""How the subjects of answering machines begin."""
